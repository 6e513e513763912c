# Foreign clients: small programs with the drivers that people use, directly and through pgatomic. And the stories end to end.

SUITES += test-e2e

DRIVERS  := build/drivers
export PATH := $(CURDIR)/$(DRIVERS)/golang/root/bin:$(PATH)
PROGRAMS := $(DRIVERS)/python/ready $(DRIVERS)/node/ready $(DRIVERS)/pgx $(DRIVERS)/pgxpool $(DRIVERS)/java/ready $(DRIVERS)/rust/ready

test-drivers: ## run psql, pgbench and the drivers of five languages through pgatomic (ONLY='pgx psycopg')
	@tools/packages build postgres
	@tests/drivers/tools python node go java rust
	$(AGAIN) build $(PROGRAMS)
	@failed=0; tests/drivers/run.py --version default --version 18=psql,psycopg,asyncpg,pgx $(ONLY) || failed=1; \
	 $(if $(ONLY),,tests/drivers/pools/run.py || failed=1;) exit $$failed

test-pools: ## run the drivers' own pools under load, 100 clients over 10 servers (ONLY='asyncpg pgxpool')
	@tools/packages build postgres
	@tests/drivers/tools python node go java
	$(AGAIN) build $(filter-out %/rust/ready,$(PROGRAMS))
	@tests/drivers/pools/run.py $(ONLY)

test-e2e: ## the race of the story, reload, and what pgatomic events tells
	@tools/packages build postgres
	$(AGAIN) build $(DRIVERS)/python/ready
	@$(DRIVERS)/python/bin/python3 tests/e2e/run.py $(ONLY)

$(DRIVERS)/python/ready: tests/drivers/python/requirements.txt
	@tests/drivers/tools python
	@echo "pip install -r $<"
	rm -rf $(@D) && python3 -m venv $(@D) && $(@D)/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

$(DRIVERS)/node/ready: tests/drivers/node/package.json tests/drivers/node/package-lock.json
	@tests/drivers/tools node
	@echo "npm ci"
	mkdir -p $(@D) && cp $^ $(@D) && npm ci --prefix $(@D) --silent --no-audit --no-fund
	touch $@

$(DRIVERS)/pgx: $(wildcard tests/drivers/go/*.*)
	@tests/drivers/tools go
	@echo "go build tests/drivers/go"
	mkdir -p $(@D) && go build -C tests/drivers/go -buildvcs=false -o $(abspath $@) .

$(DRIVERS)/pgxpool: $(wildcard tests/drivers/go/*.* tests/drivers/go/pool/*)
	@tests/drivers/tools go
	@echo "go build tests/drivers/go/pool"
	mkdir -p $(@D) && go build -C tests/drivers/go -buildvcs=false -o $(abspath $@) ./pool

$(DRIVERS)/java/ready: tests/drivers/java/pom.xml $(wildcard tests/drivers/java/src/main/java/drivers/*)
	@tests/drivers/tools java
	@echo "mvn process-classes"
	mvn --quiet --batch-mode --no-transfer-progress -f $< process-classes >$(@D).log 2>&1 || { cat $(@D).log; exit 1; }
	touch $@

$(DRIVERS)/rust/ready: $(wildcard tests/drivers/rust/Cargo.toml tests/drivers/rust/src/*)
	@tests/drivers/tools rust
	@echo "cargo build tests/drivers/rust"
	cargo build --quiet --manifest-path tests/drivers/rust/Cargo.toml --target-dir $(@D)
	touch $@

.PHONY: test-drivers test-pools test-e2e
