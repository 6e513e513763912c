# The proxy as a process, between clients and upstreams of every kind.

SUITES += integration without

BROKERS := build/integration

integration: build/pgatomic $(BROKERS)/ready ## run the proxy's integration tests but for Kafka's (ONLY='words of test names')
	@tools/packages brokers
	@PGATOMIC=$B/pgatomic $(BROKERS)/bin/python3 tests/integration/run.py $(or $(ONLY),-kafka)

integration-asan: $(BROKERS)/ready ## the same under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory MODE=asan WERROR=-Werror $(ASAN)/pgatomic
	@tools/packages brokers
	@ASAN_OPTIONS=quarantine_size_mb=1 PGATOMIC=$(ASAN)/pgatomic $(BROKERS)/bin/python3 tests/integration/run.py $(ONLY)

# Criterion does not run under ThreadSanitizer: this is where threads meet. Kafka's library starts its own in a way that the sanitizer
# does not know and crashes of; pgatomic has none there.
integration-tsan: $(BROKERS)/ready ## the same under ThreadSanitizer
	@$(MAKE) --no-print-directory MODE=tsan WERROR=-Werror build/tsan/pgatomic
	@tools/packages brokers
	@PGATOMIC=build/tsan/pgatomic $(BROKERS)/bin/python3 tests/integration/run.py -kafka $(ONLY)

without: ## build without all sinks that can be left out, see that they are
	@$(MAKE) --no-print-directory -j$$(nproc) MODE=debug WERROR=-Werror WITHOUT='$(OPTIONAL)' without-them

without-them: $B/pgatomic
	@tests/integration/without.sh $< $(WITHOUT)

# Clients of the brokers, with which the tests look at what arrived; and Celery as old as it may be.
$(BROKERS)/ready: tests/integration/requirements.txt tests/integration/requirements-oldest-celery.txt
	@tests/drivers/tools python
	@echo "pip install -r $^"
	rm -rf $(@D) && python3 -m venv $(@D) && $(@D)/bin/pip install -q --disable-pip-version-check -r $<
	python3 -m venv $(@D)/oldest-celery && $(@D)/oldest-celery/bin/pip install -q --disable-pip-version-check -r $(word 2,$^)
	touch $@

.PHONY: integration integration-asan integration-tsan without without-them
