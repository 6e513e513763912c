# The statement scanner against PostgreSQL's own scanner and parser.

SUITES += oracle

ORACLE_SEED  ?= 1
ORACLE_COUNT ?= 200000

$B/oracle/oracle: $(wildcard tests/oracle/*.[ch]) $(filter $B/protocol/%,$(OBJECTS))
	@mkdir -p $(@D) && echo "cc -o $@"
	$(CC) $(CFLAGS) -fno-lto $(LDFLAGS) -o $@ $(filter %.c %.o,$^) -lpg_query $(LDLIBS)

oracle: $B/oracle/oracle ## compare statements with libpg_query over PostgreSQL's regression suite and mutations (ORACLE_SEED, ORACLE_COUNT)
	@tests/oracle/fetch_corpus.sh build/oracle
	@$< build/oracle/statements tests/oracle/statements.sql $(ORACLE_SEED) $(ORACLE_COUNT)

.PHONY: oracle
