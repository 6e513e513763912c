# Transcripts of the session machine, and the simulator that plays clients and PostgreSQL to it.

SUITES += test-transcripts test-model test-simulation

PURE       = $(filter $B/protocol/% $B/config/% $B/proxy/session/% $B/proxy/events/event.o,$(OBJECTS))
LINK       = $(filter $B/proxy/link/% $B/proxy/pool/stream.o,$(OBJECTS))
MODEL     := $(patsubst %,$B/tests/simulation/%.o,sql store execute backend block)
NOTATION  := $(patsubst %,$B/tests/transcripts/%.o,notation notation_wire)
SCRIPTS   := $(wildcard tests/transcripts/*.transcript)

$B/transcripts: $B/tests/transcripts/run.o $B/tests/transcripts/script.o $B/tests/simulation/shell.o $(NOTATION) $(MODEL) $(PURE) $(LINK)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$B/test-model: $B/tests/simulation/test_model.o $B/tests/simulation/client.o $(NOTATION) $(MODEL) $(filter $B/protocol/%,$(OBJECTS))
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$B/simulate: $(patsubst %,$B/tests/simulation/%.o,simulate conversation scenario client oracle shell pooled) $(NOTATION) $(MODEL) $(PURE) $(LINK)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

test-transcripts: $B/transcripts ## replay tests/transcripts/*.transcript to the session, cut at every byte
	@$B/transcripts $(SCRIPTS)

test-model: $B/test-model ## hold the simulator's model of PostgreSQL against the real one (SEED=1 SEEDS=3000)
	@tests/lib/postgres.py run -- $B/test-model $(or $(SEED),1) $(or $(SEEDS),3000)

test-simulation: $B/simulate ## hold 100,000 conversations with the session
	@$B/simulate 1 100000

simulate: $B/simulate ## hold as many as you like (SEED=1 SEEDS=1000000)
	@$B/simulate $(or $(SEED),1) $(or $(SEEDS),1000000)

.PHONY: test-transcripts test-model test-simulation simulate
