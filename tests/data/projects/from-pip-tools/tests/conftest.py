import os

os.environ.setdefault("SECRET_KEY", "only-for-tests")
