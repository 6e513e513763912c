# Fuzzers: one tests/fuzz/fuzz_NAME.c each, its corpus in tests/fuzz/corpus/NAME.

SUITES += fuzz-corpus

# To clang the end of an empty array, NULL + 0, is an overflow.
CFLAGS_fuzz  := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=pointer-overflow -fno-sanitize-recover=all
LDFLAGS_fuzz := -fsanitize=address,undefined
FUZZERS      := $(patsubst tests/fuzz/fuzz_%.c,%,$(filter-out $(LEFT_OUT),$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SECONDS ?= 60

# A target is fuzz_NAME.c and, when it needs more, NAME_*.c.
.SECONDEXPANSION:
MORE = $(addprefix $B/,$(addsuffix .o,$(basename $(wildcard tests/fuzz/$1_*.c))))

$(FUZZERS:%=$B/replay/%): $B/replay/%: $B/tests/fuzz/fuzz_%.o $B/tests/fuzz/replay.o $$(call MORE,$$*) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LDLIBS)

$(FUZZERS:%=$B/fuzz/%): $B/fuzz/%: $B/tests/fuzz/fuzz_%.o $$(call MORE,$$*) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(LDLIBS)

fuzz-corpus: ## run every fuzz target over its corpus, under the sanitizers
	@$(MAKE) -j$$(nproc) MODE=asan WERROR=-Werror $(FUZZERS:%=$(ASAN)/replay/%)
	@passed=0; failed=0; for name in $(FUZZERS); do \
	    if $(ASAN)/replay/$$name tests/fuzz/corpus/$$name/*; then passed=$$((passed + 1)); continue; fi; \
	    failed=$$((failed + 1)); \
	    for input in tests/fuzz/corpus/$$name/*; do \
	        $(ASAN)/replay/$$name $$input >/dev/null 2>&1 || echo "$$name fails on $$input"; \
	    done; \
	done; echo "$$passed passed, $$failed failed"; test $$failed = 0

fuzz: ## look for new findings with clang's libFuzzer (FUZZ_SECONDS=60 for each of FUZZERS='frames startup …')
	@tools/packages build
	@sh -c '. tests/lib/need.sh && need clang clang libclang-rt-dev'
	@$(MAKE) -j$$(nproc) CC=clang MODE=fuzz WERROR=-Werror $(FUZZERS:%=build/fuzz/fuzz/%)
	@tests/fuzz/run $(FUZZ_SECONDS) build/fuzz/fuzz $(FUZZERS)

.PHONY: fuzz fuzz-corpus
