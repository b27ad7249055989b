# Everything starts here: `make demo`, `make test`. On Debian and Ubuntu missing packages are installed.

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
DIST := target/$(TARGET)/dist/vfioneer
PREFIX ?= /usr/local
LAB_RUN = LAB_BINARY=$(CURDIR)/$(DIST) cargo test -q --test lab

.PHONY: setup build dist install docs demo test unit lab lab-subset lab-captures nova check bench fuzz clean-lab

build:
	cargo build

# Packages that the tests need.
setup:
	@tests/lab/setup.sh

# The static binary that is handed out: $(DIST)
dist:
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile dist --target $(TARGET) --bin vfioneer

install: dist
	install -Dm755 $(DIST) $(DESTDIR)$(PREFIX)/bin/vfioneer

# docs/cli.md, docs/findings.md and docs/support.md, from the program and its tests.
docs:
	UPDATE_EXPECT=1 cargo test -q --test docs

# The main job on an emulated host with an IOMMU and a spare GPU.
demo: setup dist
	@LAB=demo $(LAB_RUN)

# All tests, with a representative part of the lab.
test: setup dist unit lab-subset

unit:
	cargo test

lab-subset: setup dist
	@LAB=subset $(LAB_RUN)

# Every cell; goes on where it was interrupted. One cell: make lab LAB=debian13-intel-good
lab: setup dist
	@LAB=$(or $(LAB),all) $(LAB_RUN)

# Captures of the healthy hosts, for tests/hosts.
lab-captures: setup dist
	@LAB=-good $(LAB_RUN)
	mkdir -p tests/hosts/captures
	for host in .lab/cells/*-good; do cp $$host/share/out/host.tar.zst tests/hosts/captures/lab-$${host##*/}.tar.zst; done

# OpenStack's nova itself judges what is rendered for it; it is installed from PyPI first.
nova:
	@tests/nova/install.sh
	cargo test -q --test nova -- --ignored

check:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

bench:
	cargo build --release
	cargo run --release --example bench

# Ten million option ROMs, made from Debian's real ones; FUZZ_RUNS=… for another number.
fuzz: setup
	fuzz/run.sh $(FUZZ_RUNS)

# What cells left behind; the images in the cache stay.
clean-lab:
	rm -rf .lab
