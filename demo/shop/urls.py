from django.urls import path

from . import views

urlpatterns = [
    path("sync/sign-up/<int:number>/", views.sign_up),
    path("sync/sign-up-and-fail/<int:number>/", views.sign_up_and_fail),
    path("async/sign-up/<int:number>/", views.async_sign_up),
    path("async/sign-up-and-fail/<int:number>/", views.async_sign_up_and_fail),
]
