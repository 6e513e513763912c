# Stories of links: what stands between a session and pooled servers.

SUITES += test-link

$B/link-stories: $B/tests/link/run.o $B/tests/link/stage.o $(patsubst %,$B/tests/transcripts/%.o,notation notation_wire) \
                 $(filter $B/proxy/link/%,$(OBJECTS)) $(PURE)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

test-link: ## tell tests/link/*.stories to links, cut at every byte, under the sanitizers
	@$(MAKE) MODE=asan WERROR=-Werror $(ASAN)/link-stories
	@$(ASAN)/link-stories $(wildcard tests/link/*.stories)

.PHONY: test-link
