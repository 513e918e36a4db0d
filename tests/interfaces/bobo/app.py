# target: app:app -> wsgi
# evidence: Application() at app.py:5
import bobo

app = bobo.Application(bobo_resources="shop")
