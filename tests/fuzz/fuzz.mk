# Fuzzers: one tests/fuzz/fuzz_NAME.c each, its corpus in tests/fuzz/corpus/NAME.

SUITES += fuzz-corpus

CFLAGS_fuzz  := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LDFLAGS_fuzz := -fsanitize=address,undefined
FUZZERS      := $(patsubst tests/fuzz/fuzz_%.c,%,$(filter-out $(LEFT_OUT),$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SECONDS ?= 60

$B/replay/%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< tests/fuzz/replay.c $(LIBRARY) $(LDLIBS)

$B/fuzz/%: tests/fuzz/fuzz_%.c $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIBRARY) $(LDLIBS)

fuzz-corpus: ## run every fuzz target over its corpus, under the sanitizers
	@$(MAKE) --no-print-directory MODE=asan WERROR=-Werror $(FUZZERS:%=$(ASAN)/replay/%)
	@passed=0; failed=0; for name in $(FUZZERS); do \
	    if $(ASAN)/replay/$$name tests/fuzz/corpus/$$name/*; then passed=$$((passed + 1)); continue; fi; \
	    failed=$$((failed + 1)); \
	    for input in tests/fuzz/corpus/$$name/*; do \
	        $(ASAN)/replay/$$name $$input >/dev/null 2>&1 || echo "$$name fails on $$input"; \
	    done; \
	done; echo "$$passed passed, $$failed failed"; test $$failed = 0

fuzz: ## look for new findings with clang's libFuzzer (FUZZ_SECONDS=60 for each of FUZZERS='frames startup …')
	@sh -c '. tests/lib/need.sh && need clang clang libclang-rt-dev'
	@$(MAKE) --no-print-directory CC=clang MODE=fuzz $(FUZZERS:%=build/fuzz/fuzz/%)
	@for name in $(FUZZERS); do \
	    mkdir -p build/fuzz/found/$$name; \
	    build/fuzz/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -max_len=4000 -artifact_prefix=build/fuzz/found/$$name- \
	        build/fuzz/found/$$name tests/fuzz/corpus/$$name || exit 1; \
	done

.PHONY: fuzz fuzz-corpus
