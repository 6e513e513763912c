# The Django package: its types, and its tests with the versions of Django, Celery and psycopg that people have. `make test-clients` runs one set of
# them, .ci/run all.

CLIENTS := build/clients

test-clients: ## run the tests of clients/django on Django 5.2 (ONLY='words of test names')
	@tools/packages build postgres brokers
	$(AGAIN) build $(CLIENTS)/django52/ready
	@cd clients/django && $(CURDIR)/$(CLIENTS)/django52/bin/mypy --no-error-summary --cache-dir=$(CURDIR)/$(CLIENTS)/mypy
	@$(CLIENTS)/django52/bin/python tests/clients/run.py $(ONLY)

test-clients-versions: ## run them in every setting, on three versions of Django
	@tools/packages build postgres brokers
	$(AGAIN) build $(CLIENTS)/django42/ready $(CLIENTS)/django52/ready $(CLIENTS)/django61/ready
	@for version in 42 52 61; do $(CLIENTS)/django$$version/bin/python tests/clients/run.py --every $(ONLY) || failed=1; done; [ -z "$$failed" ]

demo: ## Django and Celery with pgatomic and without: what becomes of 200 sign-ups (OPTIONS='--help')
	@tools/packages build postgres brokers
	$(AGAIN) build $(CLIENTS)/django52/ready
	@$(CLIENTS)/django52/bin/python demo/demo.py $(OPTIONS)

$(CLIENTS)/%/ready: tests/clients/%.txt
	@tests/drivers/tools python
	@echo "pip install -r $<"
	rm -rf $(@D) && python3 -m venv $(@D) && $(@D)/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

# The newest Django wants a newer Python than distributions have; a newer pip is what can install for another Python.
$(CLIENTS)/django61/ready: tests/clients/django61.txt $(CLIENTS)/pip/ready $(CLIENTS)/python/bin/python3
	@echo "pip install -r $<"
	rm -rf $(@D) && $(CLIENTS)/python/bin/python3 -m venv --without-pip $(@D)
	$(CLIENTS)/pip/bin/pip --python $(@D)/bin/python install -q --disable-pip-version-check -r $<
	touch $@

$(CLIENTS)/python/bin/python3: $(wildcard tests/clients/python/*)
	@tests/drivers/tools go
	@echo "go run tests/clients/python"
	rm -rf $(CLIENTS)/python && go run -C tests/clients/python -buildvcs=false . $(abspath $(CLIENTS)/python)
	touch $@

.PHONY: test-clients test-clients-versions demo
