# target: main:app -> asgi
# evidence: FastAPI() at main.py:5
import fastapi as f

app = f.FastAPI()
