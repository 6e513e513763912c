# pgatomic: `make` builds, `make run` tries it, `make test` proves it, `make help` lists the rest.

CC      ?= cc
MODE    ?= release
B       := build/$(MODE)
PKGS    := libevent libevent_pthreads libevent_openssl openssl libpq libconfuse

CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS_asan   := -fsanitize=address,undefined

CFLAGS  += -std=c11 -D_GNU_SOURCE -I. -fPIE -fstack-protector-strong -pthread -MMD -MP \
           -Wall -Wextra -Wshadow -Wconversion $(WERROR) $(CFLAGS_$(MODE)) $(shell pkg-config --cflags $(PKGS))
LDFLAGS += -pie -Wl,-z,relro,-z,now -pthread $(LDFLAGS_$(MODE))
LDLIBS  += $(shell pkg-config --libs $(PKGS))

SOURCES := $(wildcard protocol/*.c config/*.c proxy/*.c proxy/*/*.c)
OBJECTS := $(SOURCES:%.c=$B/%.o)
LIBRARY := $(filter-out $B/proxy/main.o,$(OBJECTS))

build/pgatomic: $B/pgatomic ; @ln -sf $(MODE)/pgatomic $@

$B/pgatomic: $(OBJECTS)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

# Unit tests: one binary per module, Criterion.
UNIT := $(patsubst tests/unit/%.c,$B/tests/%,$(wildcard tests/unit/test_*.c))

$B/tests/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS) $(shell pkg-config --libs criterion) $(LIBS_$*)

-include $(shell find build -name '*.d' 2>/dev/null)
