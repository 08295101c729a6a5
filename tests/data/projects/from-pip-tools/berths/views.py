from django.shortcuts import render

from .models import Berth


def berths(request):
    return render(request, "berths/list.html", {"berths": Berth.objects.order_by("name")})
