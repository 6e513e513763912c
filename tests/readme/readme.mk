SUITES += readme

readme: build ## do what the README says, compare what it shows
	@python3 tests/readme/check.py

.PHONY: readme
