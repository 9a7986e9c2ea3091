# Each recipe also works by hand. `make run` needs make and Python 3.11 or newer, and installs everything else in .venv.

PORT ?= 8000
CHROMIUM ?= chromium
MINUTES ?= 30
SECONDS ?= 2
ROUNDS ?= 5
PYTHON = .venv/bin/python
HAS_SERVERS = { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 && command -v pgbouncer >/dev/null && command -v haproxy >/dev/null && command -v nginx >/dev/null && command -v caddy >/dev/null && command -v openssl >/dev/null

.PHONY: run serve test windows coverage lint check e2e faults soak bench servers wrk lock port
.DELETE_ON_ERROR:

run: .venv/installed port .env
	$(PYTHON) manage.py migrate
	@echo
	@echo "  The API's page:  http://localhost:$(PORT)/api/docs"
	@echo "  A token for it:  $(PYTHON) manage.py dev_token SUB, in a second terminal; SUB is any user's id"
	@echo "  Your frontend:   Better Auth with its jwt() plugin, at the address BETTER_AUTH_URL in .env"
	@echo
	$(PYTHON) manage.py runserver $(PORT)

serve: .venv/installed
	$(PYTHON) manage.py serve

# Runs each test on its database, in a process for each core.
TESTS = -m pytest -n logical --dist worksteal
test: .venv/installed-dev
	$(PYTHON) $(TESTS)
	$(PYTHON) -m testing.postgresql $(PYTHON) $(TESTS)

# A simulation on this system: Python without what it lacks on Windows. Its own PostgreSQL is one of these things, so
# the tests on PostgreSQL share one, which an unchanged Python starts.
windows: WITHOUT = env PYTHONPATH=$(CURDIR)/testing/windows PYTHONWARNDEFAULTENCODING=1
windows: .venv/installed-dev
	$(WITHOUT) $(PYTHON) $(TESTS)
	$(PYTHON) -m testing.postgresql $(WITHOUT) $(PYTHON) -m pytest

coverage: .venv/installed-dev
	$(PYTHON) -m coverage erase
	$(PYTHON) -m coverage run $(TESTS)
	$(PYTHON) -m testing.postgresql $(PYTHON) -m coverage run $(TESTS)
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

# With production's settings, which win over .env and the environment.
lint check: export PYTHON_DOTENV_DISABLED = true
lint check: export BETTER_AUTH_SECRET = a secret that is only there to be long enough
lint check: export DEBUG =
lint check: export ALLOWED_HOSTS = todo.example.com
lint check: export CORS_ALLOWED_ORIGINS =
lint check: export DATABASE_URL = postgresql://todo@localhost/todo
lint: .venv/installed-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .

# makemigrations would connect to that PostgreSQL and warn, so it gets an SQLite file. Nothing else connects.
check: .venv/installed-dev
	DATABASE_URL=sqlite:///.venv/check.sqlite3 $(PYTHON) manage.py makemigrations --check --dry-run
	$(PYTHON) manage.py check --deploy --fail-level WARNING
	$(PYTHON) manage.py spectacular --validate --fail-on-warn --file /dev/null
	$(PYTHON) -m testing.conformance --seed 1

# Runs a Next.js application with Better Auth, in a browser, against `make serve`. Logs and screenshots are in
# e2e/output.
e2e: .venv/installed-dev e2e/node_modules/installed e2e/next/node_modules/installed
	@command -v "$(CHROMIUM)" >/dev/null \
		|| { [ $$(id -u) = 0 ] && apt-get -qq update && apt-get -qq install --no-install-recommends chromium && command -v "$(CHROMIUM)"; } \
		|| { echo "Chromium is missing; on Debian: apt install chromium, elsewhere: make e2e CHROMIUM=/its/path" >&2; exit 1; }
	rm -rf e2e/output e2e/generated
	PYTHON_DOTENV_DISABLED=true BETTER_AUTH_URL=http://localhost:3000 $(PYTHON) manage.py spectacular --skip-checks --format openapi-json --file e2e/openapi.json
	cd e2e && npm run lint && npm run generate && npm run check && CHROMIUM="$$(command -v "$(CHROMIUM)")" npm test

# Run the production server under load while its database and workers fail. Debian installs pgbouncer, haproxy and
# nginx in /usr/sbin, which only root has in PATH.
faults soak bench servers: export PATH := $(PATH):/usr/sbin
faults: .venv/installed-dev servers
	$(PYTHON) -m pytest --confcutdir=faults faults

soak: .venv/installed-dev servers
	$(PYTHON) -m faults.soak --minutes $(MINUTES)

# Uses one core for the server, and one for PostgreSQL and the load. ROUNDS=0 compares the answers only.
bench: .venv/bench/installed servers wrk
	.venv/bench/bin/python -m benchmarks --seconds $(SECONDS) --rounds $(ROUNDS) $(PUBLISH)

wrk:
	@command -v wrk >/dev/null \
		|| { [ $$(id -u) = 0 ] && apt-get -qq update && apt-get -qq install --no-install-recommends wrk && command -v wrk; } \
		|| { echo "wrk is missing; on Debian: apt install wrk" >&2; exit 1; }

servers:
	@$(HAS_SERVERS) \
		|| { [ $$(id -u) = 0 ] && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends postgresql pgbouncer haproxy nginx caddy openssl && $(HAS_SERVERS); } \
		|| { echo "PostgreSQL, PgBouncer, HAProxy, nginx, Caddy or OpenSSL is missing; on Debian: apt install postgresql pgbouncer haproxy nginx caddy openssl" >&2; exit 1; }

lock: .venv/installed-dev
	$(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --upgrade --no-header requirements.in -o requirements.txt
	$(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --upgrade --no-header requirements-dev.in -o requirements-dev.txt
	$(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --upgrade --no-header benchmarks/requirements.in -o benchmarks/requirements.txt

port:
	@$(PYTHON) -c "import socket; socket.create_server(('', $(PORT)))" 2>/dev/null \
		|| { echo "Port $(PORT) is in use or cannot be used; try another: make $(MAKECMDGOALS) PORT=8001" >&2; exit 1; }

.env:
	umask 077; sed \
		-e "s/^BETTER_AUTH_SECRET=.*/BETTER_AUTH_SECRET=$$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')/" \
		-e "s/^DEBUG=.*/DEBUG=true/" .env.example > .env

.venv/installed: requirements.txt
	@python3 -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "Python 3.11 or newer is needed; python3 is $$(python3 --version 2>&1)." >&2; exit 1; }
	@python3 -c "import ensurepip, venv" 2>/dev/null \
		|| { echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.venv/bench/installed: benchmarks/requirements.txt requirements.txt
	python3 -m venv .venv/bench
	.venv/bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

e2e/node_modules/installed e2e/next/node_modules/installed: %/node_modules/installed: %/package.json %/package-lock.json %/.npmrc
	@node -e "process.exit(+(parseInt(process.versions.node) < 20))" 2>/dev/null \
		|| { echo "Node.js 20 or newer, with npm, is needed." >&2; exit 1; }
	cd $* && npm ci --no-audit --no-fund
	@touch $@
