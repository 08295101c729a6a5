from fastapi import FastAPI

app = FastAPI(title="Shop")


@app.get("/livez")
def livez():
    return {"status": "ok"}
