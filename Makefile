# moonloop: every action. `make help` lists them.
#
# What is built lies in $(BUILD); a variant (asan, tsan, ...) is the same build
# with other flags in a folder of its own, made by running this file again.

BUILD    ?= build
# Where `make install` puts things; DESTDIR goes in front of all of them.
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
LUADIR     ?= $(LIBDIR)/lua/5.4
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/moonloop
DATADIR    ?= $(PREFIX)/share/moonloop
DESTDIR    ?=
# 0: the installed .pc file names absolute folders.
RELOCATABLE ?= 1
# Read the standard library from this folder instead of the embedded copy.
STDLIB_DIR ?=
# Extra flags of a variant or of yours.
EXTRA_CFLAGS  ?=
EXTRA_LDFLAGS ?=
OPT      ?= -O2 -g
# spec files to run, e.g. make specs SPECS=spec/asyncio/locks_spec.lua
SPECS    ?=

ifeq (0,$(MAKELEVEL))
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# ---- what it stands on ----------------------------------------------------

PKG_CONFIG ?= pkg-config
LUA_PC  := $(firstword $(foreach p,lua5.4 lua-5.4 lua54 lua,\
             $(shell $(PKG_CONFIG) --exists '$(p) >= 5.4' 2>/dev/null && echo $(p))))
UV_PC   := $(shell $(PKG_CONFIG) --exists libuv 2>/dev/null && echo libuv)

ifneq (,$(LUA_PC))
LUA_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LUA_PC))
LUA_SHARED := $(shell $(PKG_CONFIG) --libs $(LUA_PC))
LUA_LIBDIR := $(shell $(PKG_CONFIG) --variable=libdir $(LUA_PC))
LUA_STATIC := $(firstword $(wildcard $(LUA_LIBDIR)/lib$(patsubst -l%,%,$(filter -l%,$(LUA_SHARED))).a))
endif
ifneq (,$(UV_PC))
UV_CFLAGS := $(shell $(PKG_CONFIG) --cflags libuv)
UV_SHARED := $(shell $(PKG_CONFIG) --libs libuv)
UV_STATIC := $(firstword $(wildcard $(shell $(PKG_CONFIG) --variable=libdir libuv)/libuv_a.a))
endif

# What single bindings stand on: WITH_X=0 leaves one out, and the bindings with it.
WITH_TLS    ?= 1# OpenSSL 3
WITH_HTTP   ?= 1# llhttp, whose C sources Debian's node-llhttp has
WITH_HTTP2  ?= $(WITH_HTTP)# nghttp2
WITH_ZLIB   ?= 1# gzip and deflate
WITH_BROTLI ?= 1# br
WITH_IDN    ?= 1# libidn2: names of hosts in any script
WITH_PSL    ?= 1# libpsl: public suffixes, for cookies
WITH_EDIT   ?= 1# libedit: lines that are edited, in the REPL
LLHTTP_DIR  ?= /usr/share/llhttp
LLHTTP_INCLUDE ?= /usr/share/include/llhttp
on = $(filter-out 0,$(strip $(1)))
EXT_PC := $(if $(call on,$(WITH_TLS)),openssl) $(if $(call on,$(WITH_HTTP2)),libnghttp2) \
          $(if $(call on,$(WITH_ZLIB)),zlib) $(if $(call on,$(WITH_BROTLI)),libbrotlienc libbrotlidec) \
          $(if $(call on,$(WITH_IDN)),libidn2) $(if $(call on,$(WITH_PSL)),libpsl)
EXT_PC := $(strip $(EXT_PC))
EDIT_PC := $(if $(call on,$(WITH_EDIT)),libedit)# the command's alone
EXT_MISSING := $(strip $(foreach p,$(EXT_PC) $(EDIT_PC),$(if $(shell $(PKG_CONFIG) --exists '$(p)$(if $(filter openssl,$(p)), >= 3)' 2>/dev/null && echo 1),,$(p))) \
               $(if $(call on,$(WITH_HTTP)),$(if $(wildcard $(LLHTTP_DIR)/llhttp.c),,llhttp)))
EXT_CFLAGS := $(if $(call on,$(WITH_TLS)),-DML_WITH_TLS) $(if $(call on,$(WITH_HTTP)),-DML_WITH_HTTP -DLLHTTP_STRICT_MODE=1 -I$(LLHTTP_INCLUDE)) \
              $(if $(call on,$(WITH_HTTP2)),-DML_WITH_HTTP2) $(if $(call on,$(WITH_ZLIB)),-DML_WITH_ZLIB) \
              $(if $(call on,$(WITH_BROTLI)),-DML_WITH_BROTLI) $(if $(call on,$(WITH_IDN)),-DML_WITH_IDN) \
              $(if $(call on,$(WITH_PSL)),-DML_WITH_PSL) \
              $(if $(EXT_PC),$(shell $(PKG_CONFIG) --cflags $(EXT_PC) 2>/dev/null))
EXT_SHARED := $(if $(EXT_PC),$(or $(shell $(PKG_CONFIG) --libs $(EXT_PC) 2>/dev/null),$(if $(call on,$(WITH_TLS)),-lssl -lcrypto)))

comma := ,
# The command carries Lua and libuv in itself where static libraries exist. All
# of Lua's API goes in: C modules that scripts load look for it there.
LUA_LINK := $(if $(LUA_STATIC),-Wl$(comma)--whole-archive $(LUA_STATIC) -Wl$(comma)--no-whole-archive,$(LUA_SHARED))
UV_LINK  := $(if $(UV_STATIC),$(UV_STATIC),$(UV_SHARED))
# So do the others: to load the shared libraries would double the time that an empty
# script takes. EXT_LINK='$(EXT_SHARED)' uses the system's.
EXT_NAMES := $(if $(call on,$(WITH_TLS)),ssl crypto) $(if $(call on,$(WITH_HTTP2)),nghttp2) $(if $(call on,$(WITH_ZLIB)),z) \
             $(if $(call on,$(WITH_BROTLI)),brotlienc brotlidec brotlicommon) $(if $(call on,$(WITH_PSL)),psl) \
             $(if $(or $(call on,$(WITH_IDN)),$(call on,$(WITH_PSL))),idn2 unistring)
EXT_DIRS  := $(sort $(foreach p,$(EXT_PC) $(EDIT_PC),$(shell $(PKG_CONFIG) --variable=libdir $(p) 2>/dev/null)))
EXT_LINK  := $(foreach n,$(EXT_NAMES),$(or $(firstword $(wildcard $(EXT_DIRS:%=%/lib$(n).a))),-l$(n)))
EDIT_LINK := $(if $(EDIT_PC),$(foreach n,edit tinfo bsd md,$(or $(firstword $(wildcard $(EXT_DIRS:%=%/lib$(n).a))),-l$(n))))
SYS_LIBS := -lpthread -ldl -lrt -lm

# ---- sources --------------------------------------------------------------

LIB_SRC := $(sort $(wildcard engine/*.c bindings/*.c bindings/*/*.c))
LIB_SRC := $(filter-out $(if $(call on,$(WITH_TLS)),,bindings/tls%.c) $(if $(call on,$(WITH_HTTP)),,bindings/http/%.c) \
             $(if $(call on,$(WITH_HTTP2)),,bindings/http2/%.c) $(if $(call on,$(WITH_ZLIB)),,bindings/compress/zlib.c) \
             $(if $(call on,$(WITH_BROTLI)),,bindings/compress/brotli.c) $(if $(call on,$(WITH_IDN)),,bindings/names/idna.c) \
             $(if $(call on,$(WITH_PSL)),,bindings/names/psl.c) bindings/editline/%.c,$(LIB_SRC))
CLI_SRC := $(sort $(wildcard engine/cli/*.c) $(if $(EDIT_PC),$(wildcard bindings/editline/*.c)))
STDLIB  := $(sort $(shell find stdlib -name '*.lua' 2>/dev/null))
REFERENCE := $(sort $(wildcard docs/reference.md docs/reference/*.md))

GEN     := $(BUILD)/gen
LLHTTP  := $(if $(call on,$(WITH_HTTP)),$(addprefix llhttp/,api.o http.o llhttp.o))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/obj/%.o) $(addprefix $(BUILD)/obj/,gen/stdlib.o $(LLHTTP))
PIC_OBJ := $(LIB_SRC:%.c=$(BUILD)/pic/%.o) $(addprefix $(BUILD)/pic/,gen/stdlib.o $(LLHTTP))
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/obj/%.o)

CC      ?= cc
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror
CPPFLAGS_ALL := -D_GNU_SOURCE -DML_BUILD -Iengine -Ibindings $(LUA_CFLAGS) $(UV_CFLAGS) $(EXT_CFLAGS) \
           $(if $(STDLIB_DIR),-DML_STDLIB_DIR='"$(abspath $(STDLIB_DIR))"') $(CPPFLAGS)
CFLAGS_ALL := -std=c11 $(OPT) $(WARN) -fvisibility=hidden $(EXTRA_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := $(EXTRA_LDFLAGS) $(LDFLAGS)

VERSION := $(shell sed -n 's/^.define ML_VERSION_STRING "\(.*\)"/\1/p' engine/moonloop.h 2>/dev/null)

# Hosts name libmoonloop.so.SOVERSION: it counts on when old hosts would no longer run
# with a new library.
SOVERSION := 0
SHARED    := libmoonloop.so.$(VERSION)

# V=1 shows whole commands.
ifeq (,$(V))
say = @printf '  %-5s %s\n' $(1) $@;
else
say =
endif

# ---- build ----------------------------------------------------------------

.PHONY: all
all: $(BUILD)/moonloop $(BUILD)/libmoonloop.a $(BUILD)/libmoonloop.so $(BUILD)/libmoonloop.so.$(SOVERSION) $(BUILD)/asyncio.so $(BUILD)/moonloop.pc ## build the command, the libraries, the module and the .pc file

# A file that changes exactly when its text does: objects depend on the flags,
# the embedded library on the list of its files.
define stamp
	@mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(1))' > $@
endef
.PHONY: force
force:
$(BUILD)/flags: force
	$(call stamp,$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LUA_LINK) $(UV_LINK) $(EXT_LINK))
$(GEN)/stdlib.list: force
	$(call stamp,$(STDLIB))
$(GEN)/sources.list: force
	$(call stamp,$(LIB_SRC) $(CLI_SRC))

.PHONY: needs
needs:
	@test -n "$(LUA_PC)" -a -n "$(UV_PC)" -a -z "$(EXT_MISSING)" || { echo "make: $(if $(LUA_PC),,lua5.4 )$(if $(UV_PC),,libuv )$(if $(EXT_MISSING),$(EXT_MISSING) )not found: run 'make setup'" >&2; exit 1; }

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | needs
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$(BUILD)/pic/%.o: %.c $(BUILD)/flags | needs
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -fPIC -MMD -MP -c -o $@ $<
# llhttp is not ours: compiled as it comes, under names of ours, so that a host may have its own.
$(GEN)/llhttp.h: $(wildcard $(LLHTTP_DIR)/*.c) $(BUILD)/flags | needs
	@mkdir -p $(@D)
	$(call say,GEN)for f in $(basename $(notdir $(LLHTTP))); do $(CC) -I$(LLHTTP_INCLUDE) -w -c -o $(GEN)/$$f.o $(LLHTTP_DIR)/$$f.c || exit 1; done; \
	  nm -g --defined-only $(patsubst %,$(GEN)/%.o,$(basename $(notdir $(LLHTTP)))) | awk '$$3 ~ /^llhttp/ { print "#define " $$3 " ml__" $$3 }' > $@
$(BUILD)/obj/llhttp/%.o: $(LLHTTP_DIR)/%.c $(BUILD)/flags $(GEN)/llhttp.h | needs
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -include $(GEN)/llhttp.h -DLLHTTP_STRICT_MODE=1 -I$(LLHTTP_INCLUDE) $(CFLAGS_ALL) -w -MMD -MP -c -o $@ $<
$(BUILD)/pic/llhttp/%.o: $(LLHTTP_DIR)/%.c $(BUILD)/flags $(GEN)/llhttp.h | needs
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -include $(GEN)/llhttp.h -DLLHTTP_STRICT_MODE=1 -I$(LLHTTP_INCLUDE) $(CFLAGS_ALL) -w -fPIC -MMD -MP -c -o $@ $<
$(BUILD)/obj/bindings/http/%.o $(BUILD)/pic/bindings/http/%.o: CPPFLAGS_ALL += -include $(GEN)/llhttp.h
$(patsubst %.c,$(BUILD)/obj/%.o,$(filter bindings/http/%,$(LIB_SRC))) $(patsubst %.c,$(BUILD)/pic/%.o,$(filter bindings/http/%,$(LIB_SRC))): $(GEN)/llhttp.h
$(BUILD)/obj/gen/stdlib.o: $(GEN)/stdlib.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$(BUILD)/pic/gen/stdlib.o: $(GEN)/stdlib.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -fPIC -MMD -MP -c -o $@ $<

# The standard library, compiled by the Lua that will run it.
$(GEN)/embed: tools/embed.c $(BUILD)/flags | needs
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -o $@ $< $(LDFLAGS_ALL) $(LUA_LINK) $(SYS_LIBS)
$(GEN)/stdlib.c: $(GEN)/embed $(GEN)/stdlib.list $(STDLIB) $(REFERENCE)
	$(call say,GEN)$(GEN)/embed stdlib $(STDLIB) $(REFERENCE) > $@

$(BUILD)/libmoonloop.a: $(LIB_OBJ) $(GEN)/sources.list
	@rm -f $@
	$(call say,AR)ar rcs $@ $(LIB_OBJ)

$(BUILD)/$(SHARED): $(PIC_OBJ) $(GEN)/sources.list
	$(call say,LINK)$(CC) $(CFLAGS_ALL) -shared -Wl,-soname,libmoonloop.so.$(SOVERSION) -o $@ $(PIC_OBJ) $(LDFLAGS_ALL) $(LUA_SHARED) $(UV_SHARED) $(EXT_SHARED) $(SYS_LIBS)
$(BUILD)/libmoonloop.so.$(SOVERSION) $(BUILD)/libmoonloop.so: $(BUILD)/$(SHARED)
	@ln -sf $(SHARED) $@

$(CLI_OBJ): CPPFLAGS_ALL += $(if $(EDIT_PC),-DML_WITH_EDIT $(shell $(PKG_CONFIG) --cflags $(EDIT_PC) 2>/dev/null))
$(BUILD)/moonloop: $(CLI_OBJ) $(BUILD)/libmoonloop.a tools/exports.txt
	$(call say,LINK)$(CC) $(CFLAGS_ALL) -o $@ $(CLI_OBJ) $(BUILD)/libmoonloop.a $(LDFLAGS_ALL) -Wl,--dynamic-list=tools/exports.txt $(LUA_LINK) $(UV_LINK) $(EXT_LINK) $(EDIT_LINK) $(SYS_LIBS)

# For interpreters of Lua 5.4: require "asyncio". It has Lua from whoever loads it, and is
# never unloaded: the state's last blocks are freed by its code.
.PHONY: lua-module
lua-module: $(BUILD)/asyncio.so ## build/asyncio.so: require "asyncio" in a stock lua5.4
$(BUILD)/asyncio.so: $(PIC_OBJ) $(BUILD)/pic/engine/stock/asyncio.o $(GEN)/sources.list tools/module.map
	$(call say,LINK)$(CC) $(CFLAGS_ALL) -shared -Wl,-z,nodelete -Wl,--version-script=tools/module.map -o $@ $(filter %.o,$^) $(LDFLAGS_ALL) $(UV_SHARED) $(EXT_SHARED) $(SYS_LIBS)

# For hosts built against this tree. The library is named by file, so that the
# host needs no run path; Lua and libuv are the system's.
$(BUILD)/moonloop.pc: $(BUILD)/include/moonloop.h $(BUILD)/flags Makefile
	@printf '%s\n' \
	  'Name: moonloop' \
	  'Description: Lua 5.4 with async/await on libuv (uninstalled tree)' \
	  'Version: $(VERSION)' \
	  'Requires: $(LUA_PC) libuv $(EXT_PC)' \
	  'Cflags: -I$${pcfiledir}/include' \
	  'Libs: $${pcfiledir}/libmoonloop.a $(strip $(PC_LIBS) $(SYS_LIBS))' > $@
$(BUILD)/include/moonloop.h: engine/moonloop.h
	@mkdir -p $(@D)
	$(call say,CP)cp $< $@

-include $(shell find $(BUILD)/obj $(BUILD)/pic -name '*.d' 2>/dev/null)

# ---- set-up ---------------------------------------------------------------

.PHONY: setup setup-all
setup: ## install what building and testing need (Debian, Ubuntu: apt)
	@tools/setup.sh build test
setup-all: ## install what every target here can make use of
	@tools/setup.sh build test demo lint deb valgrind bench

# ---- see it run -----------------------------------------------------------

.PHONY: demo
demo: ## set up, build, and download pages one by one, then all at once
	@tools/setup.sh build demo
	@$(MAKE) all
	@scripts/demo.sh $(BUILD)/moonloop

# ---- hosts ----------------------------------------------------------------

.PHONY: hosts
hosts: ## build the hosts of scripts/hosts into build/hosts
	@tools/setup.sh build test
	@$(MAKE) all
	@$(MAKE) -C scripts/hosts BUILD=$(abspath $(BUILD))

# ---- tests ----------------------------------------------------------------

.PHONY: test check specs stock embed-test cxxtest asan tsan valgrind oom fuzz coverage
test: ## set up, build, run all specs and the host programs
	@tools/setup.sh build test
	@$(MAKE) all
	@tools/test.sh $(BUILD) specs embed
check: test
specs: all ## run the specs alone (SPECS=FILES picks some)
	@tools/test.sh $(BUILD) specs -- $(SPECS)
stock: all ## run the specs in lua5.4, with build/asyncio.so (SPECS=FILES picks some)
	@tools/setup.sh build test
	@SPEC_STOCK=1 SPEC_SLOW=2 tools/test.sh $(BUILD) specs -- $(or $(SPECS),$(STOCK_SPECS))
# What is not about the command, the source tree or the places of ml_new's states.
STOCK_SPECS := $(filter-out spec/engine/robustness_spec.lua spec/engine/stock_spec.lua spec/engine/cli_spec.lua,$(sort $(shell find spec/asyncio spec/bindings spec/concurrent spec/engine spec/fs spec/multiprocessing -name '*_spec.lua') $(wildcard spec/*_spec.lua)))
embed-test: all ## build and run the host programs of spec/embed
	@tools/test.sh $(BUILD) embed
cxxtest: all ## moonloop.h in C and C++ of every standard and compiler; hosts in C++
	@tools/test.sh $(BUILD) cxx

SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DML_NO_ARENA
asan: ## all specs and host programs under ASan and UBSan
	@tools/setup.sh build test
	@$(MAKE) BUILD=build/asan OPT='-O1 -g' EXTRA_CFLAGS='$(SAN)' EXTRA_LDFLAGS='-fsanitize=address,undefined' PC_LIBS='-fsanitize=address,undefined' all
	@SPEC_SLOW=5 SPEC_FULL=1 tools/test.sh build/asan specs embed -- $(SPECS)
tsan: ## host programs (threads) and some specs under TSan
	@tools/setup.sh build test
	@$(MAKE) BUILD=build/tsan OPT='-O1 -g' EXTRA_CFLAGS='-fsanitize=thread' EXTRA_LDFLAGS='-fsanitize=thread' PC_LIBS='-fsanitize=thread' all
	@SPEC_SLOW=10 tools/test.sh build/tsan embed specs -- $(or $(SPECS),$(THREADED))
# Specs in which other threads have a part (DNS, signals, call_soon_threadsafe).
THREADED := $(wildcard $(addprefix spec/scripts/hosts_,jobs_spec.lua threads_spec.lua agents_spec.lua) spec/concurrent/futures/thread_spec.lua spec/engine/pack_spec.lua $(addprefix spec/asyncio/,executors_spec.lua streams_spec.lua connections_spec.lua threads_spec.lua runners_spec.lua))
# A few specs that between them touch every unit.
SUBSET := $(wildcard $(addprefix spec/,asyncio/taskgroups_spec.lua asyncio/timeouts_spec.lua asyncio/streams_spec.lua \
            asyncio/connections_spec.lua asyncio/graph_spec.lua bindings/reader_spec.lua bindings/server_spec.lua \
            bindings/writer_spec.lua engine/future_spec.lua engine/gather_spec.lua engine/handle_spec.lua \
            engine/lock_spec.lua engine/loop_spec.lua engine/queue_spec.lua engine/task_spec.lua))
valgrind: ## a subset of the specs under valgrind
	@tools/setup.sh build test valgrind
	@$(MAKE) all
	@SPEC_SLOW=30 SPEC_WRAP='valgrind -q --suppressions=tools/valgrind.supp --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite --error-exitcode=97' \
	  tools/test.sh $(BUILD) specs -- $(or $(SPECS),$(SUBSET))
oom: ## fail each allocation in turn over create, run and close
	@tools/setup.sh build test
	@$(MAKE) BUILD=build/oom OPT='-O1 -g' EXTRA_CFLAGS='$(SAN)' EXTRA_LDFLAGS='-fsanitize=address,undefined' PC_LIBS='-fsanitize=address,undefined' all
	@SPEC_SLOW=3 SWEEP_SECONDS=12 tools/test.sh build/oom oom
FUZZ_SECONDS ?= 30
fuzz: ## random programs under ASan and UBSan: none may crash the engine (FUZZ_SECONDS=N)
	@tools/setup.sh build test
	@$(MAKE) BUILD=build/asan OPT='-O1 -g' EXTRA_CFLAGS='$(SAN)' EXTRA_LDFLAGS='-fsanitize=address,undefined' PC_LIBS='-fsanitize=address,undefined' build/asan/moonloop
	@build/asan/moonloop spec/fuzz/reader_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	@build/asan/moonloop spec/fuzz/unpack_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	@build/asan/moonloop spec/fuzz/range_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	@build/asan/moonloop spec/fuzz/keywords_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	@build/asan/moonloop spec/fuzz/json_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	@build/asan/moonloop spec/fuzz/url_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	@build/asan/moonloop spec/fuzz/cookies_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/cookiejar_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	@build/asan/moonloop spec/fuzz/sockets_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 ))
	$(if $(call on,$(WITH_TLS)),@MOONLOOP=build/asan/moonloop build/asan/moonloop spec/fuzz/tls_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/http_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/client_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/web_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP2)),@build/asan/moonloop spec/fuzz/http2_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP2)),@build/asan/moonloop spec/fuzz/http2_client_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/tunnel_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/ws_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/multipart_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/session_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	$(if $(call on,$(WITH_HTTP)),@build/asan/moonloop spec/fuzz/sending_fuzz.lua $$(( ($(FUZZ_SECONDS) + 5) / 6 )))
	@ASAN_OPTIONS=detect_leaks=0:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1 MOONLOOP=build/asan/moonloop \
	  build/asan/moonloop spec/fuzz/scripts_fuzz.lua $(FUZZ_SECONDS)
coverage: ## which lines of C the specs reach (build/coverage/report.txt)
	@tools/setup.sh build test
	@$(MAKE) BUILD=build/coverage OPT='-O0 -g' EXTRA_CFLAGS='--coverage' EXTRA_LDFLAGS='--coverage' PC_LIBS='--coverage' all
	@find build/coverage -name '*.gcda' -delete
	@SPEC_SLOW=3 tools/test.sh build/coverage specs embed -- $(SPECS); tools/coverage.sh build/coverage

.PHONY: amalgam
amalgam: all ## the library as one file, build/amalgam/moonloop.c and .h, and a host that is compiled with it
	@$(BUILD)/moonloop tools/amalgam.lua $(BUILD)/amalgam
	@tools/test.sh $(BUILD) specs -- spec/tools/amalgam_spec.lua
	@ls -l $(BUILD)/amalgam/moonloop.c $(BUILD)/amalgam/moonloop.h

.PHONY: deb
deb: ## Debian packages in build/deb: built, looked at, installed and removed again in a copy of the system
	@tools/setup.sh build deb
	@tools/deb.sh $(BUILD)

.PHONY: oracle
oracle: all ## compare random programs with CPython's asyncio (Python 3.13+; SEED=1 COUNT=2000)
	@spec/oracle/run.sh $(BUILD)/moonloop --seed $(or $(SEED),1) --count $(or $(COUNT),2000)

# ---- code quality ---------------------------------------------------------

.PHONY: lint format bench docs
lint: ## luacheck, clang-tidy, clang-format, includes, exported symbols
	@tools/setup.sh build lint
	@$(MAKE) all
	@tools/lint.sh $(BUILD) $(CPPFLAGS_ALL) -std=c11
format: ## format all C sources in place
	@tools/setup.sh lint
	clang-format -i $(shell find engine bindings spec/embed scripts/bench scripts/hosts spec/scripts spec/tools tools -name '*.[ch]' -o -name '*.cc' -o -name '*.[ch]pp')

bench: all ## measure: medians, and ratios to the C limits
	@ENGINE=$(abspath $(BUILD)/moonloop) $(BUILD)/moonloop scripts/bench/run.lua $(BENCH)
docs: all ## the documents as HTML, with a reference from the sources' comments; checks links (build/docs/html)
	@tools/setup.sh docs
	@$(BUILD)/moonloop tools/docs.lua $(BUILD)/docs
	@$(BUILD)/moonloop tools/site.lua $(BUILD)/docs

# ---- install --------------------------------------------------------------

.PHONY: install install-lua-module uninstall clean help
installer = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' BINDIR='$(BINDIR)' LIBDIR='$(LIBDIR)' LUADIR='$(LUADIR)' INCLUDEDIR='$(INCLUDEDIR)' \
  MANDIR='$(MANDIR)' DOCDIR='$(DOCDIR)' DATADIR='$(DATADIR)' RELOCATABLE='$(RELOCATABLE)' VERSION='$(VERSION)' SOVERSION='$(SOVERSION)' \
  REQUIRES='$(strip $(LUA_PC) libuv $(EXT_PC))' LIBS='$(strip $(LUA_SHARED) $(UV_SHARED) $(EXT_SHARED))' SYS_LIBS='$(SYS_LIBS)' \
  tools/install.sh
install: all ## install below PREFIX (/usr/local), staged in DESTDIR
	@$(installer) install $(BUILD)
install-lua-module: lua-module ## install asyncio.so alone, into LUADIR
	install -d $(DESTDIR)$(LUADIR)
	install -m 644 $(BUILD)/asyncio.so $(DESTDIR)$(LUADIR)/asyncio.so
uninstall: ## remove what install put there
	@$(installer) uninstall $(BUILD)

clean: ## remove everything that was built
	rm -rf build $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS='	' read -r t d; do printf '  make %-12s %s\n' "$$t" "$$d"; done
	@echo 'Variables: BUILD PREFIX DESTDIR LIBDIR STDLIB_DIR CC OPT CFLAGS LDFLAGS SPECS BENCH V'
