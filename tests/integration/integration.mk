# The proxy as a process, between clients and upstreams of every kind.

SUITES += integration integration-asan

integration: build/pgatomic ## run the proxy's integration tests (ONLY='words of test names')
	@PGATOMIC=$B/pgatomic python3 tests/integration/run.py $(ONLY)

integration-asan: ## the same under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory MODE=asan WERROR=-Werror $(ASAN)/pgatomic
	@ASAN_OPTIONS=quarantine_size_mb=1 PGATOMIC=$(ASAN)/pgatomic python3 tests/integration/run.py $(ONLY)

.PHONY: integration integration-asan
