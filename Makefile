# The two commands that matter: `make run` tries Cairn out, `make test` proves it.

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
export SWIFT

RELEASE := -c release --static-swift-stdlib
CAIRN := .build/release/cairn

# mount(8), mkfs(8) and fsck(8) look for their helpers in /sbin.
SBIN ?= /sbin
HELPERS := mount.cairn mount.fuse.cairn mkfs.cairn fsck.cairn
MAN1 := man/cairn.1
MAN8 := $(wildcard man/*.8)

.PHONY: help run build test lint format bench soak sanitize install uninstall clean

help:
	@echo "make run        build, make an image, mount it, unmount on Ctrl-C"
	@echo "make test       build, run all tests, print how many passed and failed"
	@echo "make build      build the command: $(CAIRN)"
	@echo "make bench      measure the library, mounts beside tmpfs and bindfs, and disks beside ext4 and btrfs"
	@echo "make soak       hunt under load for about MINUTES=20, or ROUNDS=N; HUNTS='stress leaks' chooses"
	@echo "make sanitize   run swift test under the sanitizers; SANITIZERS=thread chooses"
	@echo "make lint       check the layout of the code"
	@echo "make install    install below PREFIX=$(PREFIX), DESTDIR=$(DESTDIR)"
	@echo "make uninstall  take that away"
	@echo "make clean      remove what was built"

build:
	@scripts/setup build
	@$(SWIFT) build $(RELEASE) --product cairn

run: build
	@exec scripts/run $(CAIRN)

test:
	@scripts/setup test
	@$(SWIFT) build $(RELEASE) --product cairn
	@scripts/test $(CAIRN)

lint:
	@$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests

format:
	@$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests

bench: build
	@$(SWIFT) build $(RELEASE) --product cairn-benchmarks
	@.build/release/cairn-benchmarks library
	@.build/release/cairn-benchmarks scale
	@.build/release/cairn-benchmarks tree
	@.build/release/cairn-benchmarks held
	@scripts/bench-cache .build/release/cairn-benchmarks
	@.build/release/cairn-benchmarks disk .build/bench-disk.img
	@scripts/bench $(CAIRN)
	@[ "$$(id -u)" != 0 ] || scripts/bench-disk $(CAIRN)

MINUTES ?= 20
ROUNDS ?=
HUNTS ?=
soak: build
	@scripts/soak $(CAIRN) -m $(MINUTES) $(if $(ROUNDS),-r $(ROUNDS)) $(HUNTS)

SANITIZERS ?= thread address
sanitize:
	@scripts/setup test
	@scripts/sanitize $(SANITIZERS)

install: build
	install -D -m 755 $(CAIRN) $(DESTDIR)$(PREFIX)/bin/cairn
	strip --strip-debug $(DESTDIR)$(PREFIX)/bin/cairn
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 $(MAN1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(MAN8) $(DESTDIR)$(PREFIX)/share/man/man8
	install -D -m 644 completions/cairn.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cairn
	install -d $(DESTDIR)$(SBIN)
	for helper in $(HELPERS); do \
	    ln -sf $(PREFIX)/bin/cairn $(DESTDIR)$(SBIN)/$$helper || exit 1; \
	done

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/cairn
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/man/man1/,$(notdir $(MAN1)))
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/man/man8/,$(notdir $(MAN8)))
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cairn
	rm -f $(addprefix $(DESTDIR)$(SBIN)/,$(HELPERS))

clean:
	rm -rf .build
