# target: app:app -> wsgi
# evidence: lambda environ, start_response at app.py:4

app = lambda environ, start_response: [b""]
