"""Django requests and Celery tasks that commit together, through pgatomic.

Two parts, each of use without the other:

- `pgatomic_django.middleware.AtomicRequestsMiddleware` makes each request one transaction, as ATOMIC_REQUESTS does, but in pgatomic: views may
  be async, pgatomic's config says which requests are atomic, and what is rolled back was never notified.
- `pgatomic_django.celery.Task` makes `.delay()` wait for the COMMIT of the transaction in which it is called.

Where a database is reached without pgatomic, both do what Django and Celery do by themselves: a transaction around the view, and
`on_commit` around the call.
"""

__version__ = "0.1"
