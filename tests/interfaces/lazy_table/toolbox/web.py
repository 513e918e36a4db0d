from fastapi import FastAPI

service = FastAPI()
