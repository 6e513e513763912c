# Transcripts of the session machine, and the simulator that plays clients and PostgreSQL to it.

SUITES += test-transcripts

PURE       = $(filter $B/protocol/% $B/config/% $B/proxy/session/% $B/proxy/events/event.o,$(OBJECTS))
MODEL     := $(patsubst %,$B/tests/simulation/%.o,shell sql store execute backend block)
NOTATION  := $(patsubst %,$B/tests/transcripts/%.o,notation notation_wire)
SCRIPTS   := $(wildcard tests/transcripts/*.transcript)

$B/transcripts: $B/tests/transcripts/run.o $B/tests/transcripts/script.o $(NOTATION) $(MODEL) $(PURE)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

test-transcripts: $B/transcripts ## replay tests/transcripts/*.transcript to the session, cut at every byte
	@$B/transcripts $(SCRIPTS)

.PHONY: test-transcripts
