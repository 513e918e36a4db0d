# target: main:app -> asgi
# evidence: mount_gradio_app() at main.py:7
import gradio as gr
from fastapi import FastAPI

app = FastAPI()
app = gr.mount_gradio_app(app, gr.Blocks(), path="/gradio")
