# The live page in a real browser.

test-browser: build/pgatomic ## open the live page in a headless Chromium (SCREENSHOTS=DIRECTORY keeps pictures of it)
	@tools/packages postgres browser
	@PGATOMIC=$B/pgatomic python3 tests/browser/run.py $(ONLY)

.PHONY: test-browser
