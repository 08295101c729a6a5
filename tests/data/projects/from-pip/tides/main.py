from fastapi import FastAPI

app = FastAPI()


@app.get("/livez")
def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/tides")
def tides() -> list[str]:
    return ["ebb", "flow"]
