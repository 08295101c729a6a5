from django.http import HttpResponse


def livez(get_response):
    def middleware(request):
        return HttpResponse("ok") if request.path == "/livez" else get_response(request)

    return middleware
