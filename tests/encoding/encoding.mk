SUITES += encodings

$B/encodings/agree: tests/encoding/agree.c $B/protocol/encoding.o $B/protocol/buffer.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $B/protocol/encoding.o $B/protocol/buffer.o

encodings: $B/encodings/agree ## compare character counts and conversions with a real PostgreSQL, in all its encodings
	@python3 tests/lib/postgres.py run -- sh -c 'psql -XAtqf tests/encoding/agree.sql | $<'

.PHONY: encodings
