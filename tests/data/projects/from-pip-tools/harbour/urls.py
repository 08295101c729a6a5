from berths.views import berths
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("", berths),
    path("admin/", admin.site.urls),
]
