import acme_billing
import beacon
from fastapi import FastAPI

app = FastAPI()


@app.get("/livez")
def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/versions")
def versions() -> dict[str, str]:
    return {"acme-billing": acme_billing.VERSION, "beacon": beacon.VERSION}
