# pgatomic: `make` builds, `make run` tries it, `make test` proves it, `make help` lists the rest.

MAKEFLAGS += --no-print-directory $(if $(V),,--silent) # V=1 shows the commands
CC      ?= cc
MODE    ?= release
PREFIX  ?= /usr/local

# What has a library that nothing else needs can be left out: make WITHOUT="kafka systemd". Such a build has a folder of its own.
PKGS_webhook := libcurl
PKGS_redis   := hiredis
PKGS_amqp    := librabbitmq
PKGS_kafka   := rdkafka
PKGS_systemd := libsystemd

OPTIONAL   := webhook redis amqp kafka systemd
WITH       := $(filter-out $(WITHOUT),$(OPTIONAL))
$(foreach s,$(filter-out $(OPTIONAL),$(WITHOUT)),$(error WITHOUT: "$s" is none of: $(OPTIONAL)))
SPACE      := $(subst ,, )
B          := build/$(subst $(SPACE),-without-,$(strip $(MODE) $(sort $(WITHOUT))))
ASAN       := $(patsubst build/$(MODE)%,build/asan%,$B)
DEFINES    := $(patsubst %,-DWITHOUT_%,$(shell echo $(WITHOUT) | tr a-z A-Z))
LEFT_OUT   := $(foreach s,$(WITHOUT),proxy/ops/$s.c proxy/events/sink_$s.c proxy/events/$s_%.c tests/unit/test_$s.c tests/unit/test_$s_%.c tests/fuzz/fuzz_$s.c)
PKGS       := libevent openssl libidn libpq libconfuse jansson $(foreach s,$(WITH),$(PKGS_$s))

# gcc optimizes the program as a whole; the tests link the same objects the quick way.
WHOLE          := $(if $(findstring clang,$(CC)),,-flto=auto)
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 $(WHOLE) $(if $(WHOLE),-ffat-lto-objects)
WHOLE_release  := -O2 $(WHOLE)
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS_asan   := -fsanitize=address,undefined
CFLAGS_tsan    := -O1 -g -fsanitize=thread
LDFLAGS_tsan   := -fsanitize=thread

CFLAGS  += -std=c11 -D_GNU_SOURCE -I. -fPIE -fstack-protector-strong -pthread -MMD -MP \
           -Wall -Wextra -Wshadow -Wconversion $(WERROR) $(CFLAGS_$(MODE)) $(PKG_CFLAGS) $(DEFINES)
LDFLAGS += -pie -Wl,-z,relro,-z,now -pthread $(LDFLAGS_$(MODE))
LDLIBS  += $(PKG_LIBS)

PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

SOURCES := $(filter-out $(LEFT_OUT),$(wildcard protocol/*.c config/*.c proxy/*.c proxy/*/*.c proxy/*/*.S))
OBJECTS := $(addprefix $B/,$(addsuffix .o,$(basename $(SOURCES))))
LIBRARY := $(filter-out $B/proxy/main.o,$(OBJECTS))
UNIT    := $(patsubst tests/unit/%.c,$B/tests/%,$(filter-out $(LEFT_OUT),$(wildcard tests/unit/test_*.c)))
C_FILES  = $(shell find bench config protocol proxy tests -name '*.[ch]' -not -path '*/node_modules/*' -not -path '*/target/*')
AGAIN    = @$(MAKE) -j$$(nproc) WERROR=-Werror

build: build/pgatomic ## compile build/pgatomic (MODE=release, debug, asan or tsan; WITHOUT="kafka systemd" to leave parts out)

build/pgatomic: $B/pgatomic FORCE
	@ln -sf $(B:build/%=%)/pgatomic $@

$B/pgatomic: $(OBJECTS)
	@echo "cc -o $@"
	$(CC) $(LDFLAGS) $(WHOLE_$(MODE)) -o $@ $^ $(LDLIBS)

$B/%.o: %.c
	@mkdir -p $(@D) && echo "cc $<"
	$(CC) $(CFLAGS) -c -o $@ $<

$B/%.o: %.S
	@mkdir -p $(@D) && echo "cc $<"
	$(CC) $(CFLAGS) -c -o $@ $<

$B/proxy/ops/page.o: proxy/ops/page.html proxy/ops/page.css proxy/ops/page.js

$B/tests/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D) && echo "cc -o $@"
	$(CC) $(CFLAGS) -fno-lto $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS) $$(pkg-config --libs criterion) $(LIBS_$*)

install: build ## copy it to $(DESTDIR)$(PREFIX)/bin
	install -D $B/pgatomic $(DESTDIR)$(PREFIX)/bin/pgatomic

packages: ## install what compiling needs (Debian, Ubuntu)
	@tools/packages build

run: ## try it: installs what is missing, starts PostgreSQL (or UPSTREAM='host=… port=…') and pgatomic
	@tools/packages build postgres
	$(AGAIN) build
	@tools/run

# The suites of `make test`: targets that fail, or print "N passed, N failed", or do as Criterion does. A fragment adds its own.
SUITES := format-check pure unit unit-asan
-include tests/*.mk tests/*/*.mk

test: ## run all suites but the drivers, Django, Kafka and the demo; N passed, N failed
	@tools/packages build postgres test
	@rm -rf build/test
	$(AGAIN) -k build/pgatomic $(UNIT) || true
	$(AGAIN) -k MODE=asan B=$(ASAN) $(UNIT:$B/%=$(ASAN)/%) || true
	@for suite in $(SUITES); do tools/suite $$suite $(MAKE) $$suite || true; done; tools/suite total

unit: $(UNIT) ## run the unit tests of this MODE
	@failed=0; for test in $^; do echo $$test; $$test || failed=1; done; exit $$failed

unit-asan: ## run the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) MODE=asan WERROR=-Werror unit

# What a pure machine has no business calling.
IMPURE := socket|connect|accept4?|bind|listen|shutdown|(send|recv)(to|from|msg|mmsg)?|p?read|p?write|readv|writev|open(at)?(64)?|fopen(64)?|p?poll|p?select|epoll_.*|clock_gettime|gettimeofday|time|localtime(_r)?|gmtime(_r)?|nanosleep|usleep|sleep|getrandom|rand(om)?|getenv|pthread_.*|(evutil|evconnlistener|bufferevent|evbuffer|evtimer|event_base)_.*|event_(add|del|active|assign)

PURE_OBJECTS := $(filter $B/protocol/% $B/proxy/session/% $B/proxy/link/%,$(OBJECTS))

pure: ## prove that protocol/, proxy/session/ and proxy/link/ need no socket, clock or libevent
	@$(MAKE) $(PURE_OBJECTS) >/dev/null
	@! nm -uA $(PURE_OBJECTS) | sed 's/@.*//' | grep -E ' ($(IMPURE))$$'

format: ## lay out all C files as .clang-format says
	clang-format -i $(C_FILES)

format-check: ## fail if `make format` would change a file
	@clang-format --dry-run -Werror $(C_FILES)

bench: build ## beside pgbouncer, haproxy and no proxy (QUICK=1; PARTS='transaction idle'; OPTIONS='--help')
	@tools/packages bench postgres
	@python3 bench/bench.py $(if $(QUICK),--quick) $(OPTIONS) $(PARTS)

bench-atomic: build build/bench/relay ## round trips and latency of whole requests over a slow link (OPTIONS='--help')
	@tools/packages bench postgres
	@python3 bench/atomic.py $(OPTIONS)

bench-notify: build ## committing with NOTIFY, directly and through pgatomic (OPTIONS='--help')
	@tools/packages bench postgres
	@python3 bench/notify.py $(OPTIONS)

build/bench/%: bench/%.c
	@mkdir -p $(@D) && echo "cc -o $@"
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $<

clean: ## remove build/
	rm -rf build

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

FORCE:
.PHONY: FORCE build install packages run test unit unit-asan pure format format-check bench bench-atomic bench-notify clean help
-include $(shell find build -name '*.d' 2>/dev/null)
