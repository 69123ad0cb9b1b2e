# Scores or a song -> a music video. Every stage is a file in media/; `make help` lists what there is.
#
#   scores/*.mscz --scores--> media/parts/*/*.wav, media/$(TITLE).wav --gan--> media/$(TITLE).mp4 (square)
#                             media/parts/*/*.wav --audio--> media/$(TITLE)-Dry.wav, media/$(TITLE)-Wet.wav
#                media/$(TITLE).mp4 --video--> media/$(TITLE)-1080p.mkv --merge--> $(TITLE).mkv
#
# GNU make 3.81 (macOS) is enough.

# Every command writes to a temporary name and renames, so there is no .DELETE_ON_ERROR: a command that fails because
# another one is running must not delete that one's output.
SHELL := /bin/sh
.SUFFIXES:
.SECONDARY:
.DEFAULT_GOAL := help

# -- Variables, all for the command line ------------------------------------------------------------------

TITLE ?= Impassive
SONG ?=
PREVIEW := $(filter preview,$(MAKECMDGOALS))
GENERATOR ?= $(if $(filter demo preview,$(MAKECMDGOALS)),cppn,biggan)
# cppn draws any size; these fill a film of 1920x1080, and its preview, without scaling. BigGAN has 128 and 512.
RESOLUTION ?= $(if $(PREVIEW),$(if $(filter biggan,$(GENERATOR)),128,204),$(if $(filter cppn,$(GENERATOR)),820,512))
FPS ?= 30
SEED ?= $(if $(filter Impassive,$(TITLE)),7)
# The subjects of the piece. The first is seen most, since it belongs to the pitch that sounds most.
CLASSES ?= $(if $(filter Impassive-cppn,$(TITLE)-$(GENERATOR)),dissociation gills 'moth wing' veins mushroom undertow \
	bruise iris inkcap ash mycelium moonlight)$(if $(filter Impassive-pocket,$(TITLE)-$(GENERATOR)),mushroom eye \
	hourglass butterfly moon 'spider web' jellyfish snowflake candle brain skull bell)
WEIGHTS ?=
# Where notes are known the picture follows them; BigGAN keeps the published mapping.
MAPPING ?= $(if $(filter biggan biggan-reference,$(GENERATOR)),classic,score)
MIDI ?=
CONDUCT ?= $(firstword $(wildcard scores/$(TITLE).$(GENERATOR).conduct.toml scores/$(TITLE).conduct.toml))
GAN_FLAGS ?=
OVERWRITE ?=
MIX ?=
TITLE_TEXT ?= $(TITLE)
FONT ?=
WIDTH ?= 1920
HEIGHT ?= 1080
INTRO ?= $(if $(PREVIEW),0,4)
OUTRO ?= 4
START ?=
DURATION ?= $(if $(PREVIEW),10)
LENGTH ?=
LISTENS ?= $(if $(PREVIEW),main,all)
MIRROR ?=
LOOK ?= none
PULSE ?= 0
ENCODER ?= h264
SYSTEM_DEPS ?= install
TORCH_INDEX ?=
CLUSTER ?=
PICTURES ?=
MASKS ?=
MINUTES ?=
ifneq ($(origin NAME),command line)
NAME :=
endif

safe := A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a b c d e f g h i j k l m n o p q r s t u v w x y z \
        0 1 2 3 4 5 6 7 8 9 - _
left := $(value TITLE)
$(foreach letter,$(safe),$(eval left := $$(subst $(letter),,$$(left))))
ifneq ($(left),)
$(error TITLE=$(value TITLE): use letters, digits, - and _ only)
endif
ifneq ($(filter -% %-Wet %-Dry %-8d %-1080p %-storyboard %-excerpt %-preview %-short %-check,$(TITLE)),)
$(error TITLE=$(TITLE): may not begin with -, nor end like a file of another title: -Wet, -Dry, -8d, -1080p, -storyboard, \
-excerpt, -preview, -short, -check)
endif
ifeq ($(TITLE),)
$(error TITLE is empty: give the film a name, of letters, digits, - and _)
endif

# A typed value may hold text that make would expand or split, or that a shell would run. So values go through the
# environment, never through make's own lists. Only GAN_FLAGS is read by the shell.
typed := SONG GENERATOR RESOLUTION FPS SEED CLASSES WEIGHTS MAPPING MIDI CONDUCT OVERWRITE MIX TITLE_TEXT FONT WIDTH \
	HEIGHT MIRROR INTRO OUTRO START DURATION LENGTH LISTENS LOOK PULSE ENCODER TORCH_INDEX CLUSTER PICTURES NAME MASKS MINUTES
as_typed = $(if $(filter file default,$(origin $(1))),$($(1)),$(value $(1)))
$(foreach name,$(typed),$(eval override $(name) := $$(call as_typed,$(name))))
# A score without a mix table gets one, made of its parts.
DRAFT :=
ifeq ($(MIX),)
  ifeq ($(wildcard scores/$(TITLE).mix.toml),)
    DRAFT := $(patsubst scores/%.mscz,media/%.mix.toml,$(wildcard scores/$(TITLE).mscz))
  endif
  override MIX := $(firstword $(wildcard scores/$(TITLE).mix.toml) $(DRAFT) scores/song.mix.toml)
endif
export MIX_TABLE := $(MIX)
export DRAW_FLAGS := $(value GAN_FLAGS)
export TITLE SYSTEM_DEPS $(typed)

ifeq ($(filter main/ all/,$(LISTENS)/),)
$(error LISTENS=$(LISTENS): unknown (choose main, all))
endif

ifneq ($(filter generator,$(MAKECMDGOALS)),)
  ifeq ($(and $(value PICTURES),$(value NAME)),)
    $(error give PICTURES=folder NAME=mine: what the generator learns from, and what it is called)
  endif
endif

# An excerpt is a film of its own, so that the whole film, and hours of drawing, stay as they are. `short` and `poster`
# are made of the whole square video, and take START for themselves.
STEM := $(TITLE)
ifneq ($(PREVIEW),)
  STEM := $(TITLE)-preview
  ifneq ($(words $(MAKECMDGOALS)),1)
    $(error make preview goes by itself, since it has settings of its own)
  endif
else ifeq ($(filter short poster,$(MAKECMDGOALS)),)
  ifneq ($(START)$(DURATION),)
    STEM := $(TITLE)-excerpt
  endif
endif
WHOLE := $(filter $(TITLE),$(STEM))
EXCERPT = $(if $(WHOLE),,$${START:+--start="$$START"} $${DURATION:+--duration="$$DURATION"})

SCORES := $(wildcard scores/$(TITLE).mscz scores/$(TITLE)-8d.mscz)
ifneq ($(SONG),)
  ifneq ($(SCORES),)
    $(error TITLE=$(TITLE) belongs to $(firstword $(SCORES)): give your SONG a TITLE of its own)
  endif
endif

# A mix made by hand needs neither score nor song; it is mixed anew only where the song beside it is newer.
BY_HAND := $(if $(SONG)$(SCORES)$(wildcard media/.stems/$(TITLE).made),,$(wildcard media/$(TITLE)-Wet.wav))
MIXES := media/$(TITLE)-Wet.wav $(if $(BY_HAND),,media/$(TITLE)-Dry.wav)

# -- The Python environment and the programs: set up once, each by the first target that needs it ------------

# An active conda environment is used as it is, except `base`, which is no project's environment.
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
  ENV := $(CONDA_PREFIX)
else
  ENV := .venv
endif
PY := $(ENV)/bin/python
READY := $(ENV)/.musicvideo-packages
WITH_SOX := $(ENV)/.musicvideo-sox
WITH_MUSESCORE := $(ENV)/.musicvideo-musescore
WITH_RAY := $(ENV)/.musicvideo-extra-cluster
WITH_STUDIO := $(ENV)/.musicvideo-extra-studio
WITH_BROWSER := $(ENV)/.musicvideo-extra-test-studio
module_of_cluster := ray
module_of_studio := gradio
module_of_test-studio := playwright
python3 = $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
any_python = $(if $(wildcard $(PY)),$(PY),$(python3))
only_say := $(if $(filter check,$(SYSTEM_DEPS)),--check)

$(ENV)/.musicvideo-programs: needs = python ffmpeg ffprobe libsndfile
$(WITH_SOX): needs = sox
$(WITH_MUSESCORE): needs = musescore
$(ENV)/.musicvideo-programs $(WITH_SOX) $(WITH_MUSESCORE): musicvideo/system.py
	@python=$(python3); test -n "$$python" || { echo "error: Python 3.10 to 3.13 is needed: install python3" >&2; \
	exit 1; }; $$python -m musicvideo setup $(only_say) $(needs)
	@mkdir -p $(dir $@)
	@touch $@

$(READY): pyproject.toml requirements.lock $(ENV)/.musicvideo-programs
ifeq ($(ENV),.venv)
	@echo "Installing Python packages into .venv (torch is large: some minutes)"
	@$(python3) -m musicvideo setup --environment .venv --torch-index "$$TORCH_INDEX"
else
	@$(PY) -m musicvideo setup --packages
endif
	@touch $@

# What an extra of pyproject.toml needs beside the other packages, at the versions of a lock of its own.
$(ENV)/.musicvideo-extra-%: requirements-%.lock $(READY)
ifeq ($(ENV),.venv)
	@echo "Installing the packages of the extra $* into .venv"
	@$(python3) -m musicvideo setup --environment .venv --torch-index "$$TORCH_INDEX" --extra $*
else
	@$(PY) -c "import $(module_of_$*)" 2>/dev/null || { echo "error: the conda environment lacks $(module_of_$*): run" \
	"\`pip install '.[$*]'\`" >&2; exit 1; }
endif
	@touch $@

.PHONY: setup doctor
setup: $(READY) $(WITH_SOX) $(if $(SONG),,$(WITH_MUSESCORE)) ## set up Python packages and programs (every target sets up what it needs by itself)

doctor: ## print which programs were found, their versions, and what each is for
	@$(or $(any_python),python3) -m musicvideo doctor

# One make at a time works on a title; the other one says so.
ifneq ($(filter-out help setup doctor studio generator weights lint test test-fast test-cluster test-studio test-trust bench,$(or $(MAKECMDGOALS),help)),)
ifeq ($(findstring n,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),)
  other := $(if $(any_python),$(shell $(any_python) -m musicvideo claim -- $(TITLE) $$PPID))
  ifneq ($(other),)
    $(error another make (process $(other)) works on TITLE=$(TITLE): wait until it has finished, or give another TITLE)
  endif
endif
endif

# -- Targets ----------------------------------------------------------------------------------------------

.PHONY: help demo studio generator scores tables gan audio video merge build amerge storyboard preview short poster strip check \
	weights lint test test-fast test-cluster test-studio test-trust bench clean distclean checked FORCE

installer := $(firstword $(foreach program,apt-get brew,$(shell command -v $(program) 2>/dev/null)))
hardware := $(if $(filter Darwin,$(shell uname -s)),h264_videotoolbox,h264_nvenc or h264_qsv)
, := ,

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile
	@printf '%s\n' '' 'Variables (make demo TITLE_TEXT="My title" FPS=25):' \
	"  TITLE        name of score and film: scores/TITLE.mscz -> TITLE.mkv   [$$TITLE]" \
	"  SONG         a song of yours, any audio file, instead of a score; needs a TITLE of its own" \
	"  GENERATOR    what draws: biggan (needs weights), pocket or cppn (need nothing), or one of your own   [$$GENERATOR; demo: cppn]" \
	"  PICTURES NAME   with make generator: a folder of 1 to 200 pictures, and what the generator is called" \
	"  MASKS MINUTES   the same: a folder of pictures, white where the subject is; of training at most   [found; 20]" \
	"  RESOLUTION   side of the square picture; BigGAN has 128, 256, 512   [$$RESOLUTION]" \
	"  FPS          frames a second: 30, 25, 30000/1001 ...   [$$FPS]" \
	"  SEED         another seed, another film   [$${SEED:-from the song}]" \
	"  CLASSES      what may appear, names or numbers: CLASSES=\"mushroom 'grand piano'\"   [$${CLASSES:-drawn by SEED}]" \
	"  WEIGHTS      folder with BigGAN weights   [$${WEIGHTS:-cache, else download}]" \
	"  MAPPING      score: notes move the picture; classic or pulse: what is heard does   [$$MAPPING]" \
	"  MIDI         the notes of your SONG, from any program   [from the score; else written down from the song]" \
	"  CONDUCT      table of what each part shows and moves   [$${CONDUCT:-by the instruments}]" \
	"  GAN_FLAGS    more for visualize.py, read by the shell: GAN_FLAGS=\"--jitter 0.8 --depth 0.7\"" \
	"  CLUSTER      draw on a Ray cluster: auto, local or ray://HOST:10001   [docs/cluster.md]" \
	"  MIX          mix table   [$$MIX_TABLE]" \
	"  OVERWRITE    1: start over where an interrupted drawing had other settings" \
	"  TITLE_TEXT   words of the title card; empty for none   [$$TITLE_TEXT]" \
	"  FONT         font family of the title card" \
	"  WIDTH HEIGHT size of the film   [$$WIDTH $$HEIGHT]" \
	"  MIRROR       pair: the whole square and its mirror image; half: a kaleidoscope   [$${MIRROR:-by the shape}]" \
	"  INTRO OUTRO  seconds of slow opening, and of back and forth at the end; 0 for none   [$$INTRO $$OUTRO]" \
	"  START        where an excerpt (TITLE-excerpt.mkv), a short or a poster begins, in seconds   [$${START:-the beginning}]" \
	"  DURATION     seconds of an excerpt   [$${DURATION:-all}]" \
	"  LENGTH       seconds of a short, 15 to 60   [$${LENGTH:-up to 30}]" \
	"  LISTENS      all: the .mkv carries 8D, stereo, and a rehearsal of each part; main: 8D only   [$$LISTENS]" \
	"  LOOK         none, vintage, noir or dream   [$$LOOK]" \
	"  PULSE        0..1, how far the picture jumps on each beat   [$$PULSE]" \
	"  ENCODER      of the film: h264 or hevc, or this machine's own, such as $(hardware)   [$$ENCODER]" \
	$(if $(installer),"  SYSTEM_DEPS  check: never install programs$(,) only say which are missing   [$$SYSTEM_DEPS]") \
	$(if $(filter .venv,$(ENV)),"  TORCH_INDEX  where set-up takes torch from$(,) instead of PyPI: an index or a folder") \
	"  FFMPEG FFPROBE SOX MUSESCORE   programs elsewhere than on PATH"

# Sound first: it takes seconds, and a fault in a part or a motion is reported before the drawing.
demo: checked audio gan build ## the whole film with the embedded generator: runs anywhere

# It runs make with variables of its own, so it sees none of these.
studio: $(WITH_STUDIO) $(WITH_SOX) ## open a page in your browser: choose, see, hear, render and play
	@env $(addprefix -u ,TITLE SYSTEM_DEPS MIX_TABLE DRAW_FLAGS MAKEFLAGS MFLAGS MAKELEVEL $(typed)) \
	$(PY) -m musicvideo studio

generator: | $(READY) ## train a generator on a folder of your own pictures: PICTURES=folder NAME=mine
	@$(PY) -m musicvideo generator $${MASKS:+--masks="$$MASKS"} $${MINUTES:+--minutes="$$MINUTES"} \
	$(if $(filter-out 0,$(OVERWRITE)),--overwrite) -- "$$PICTURES" "$$NAME"

scores: $(SCORES:scores/%.mscz=media/%.mid) media/$(TITLE).wav ## export every part, the full mix and the MIDI clock

gan: checked media/$(STEM).mp4 ## draw the square video of the unaltered song (BigGAN: may take hours)

storyboard: media/$(TITLE)-storyboard.png ## what a drawing would look like, and how long it would take

audio: $(MIXES) ## mix the parts, without (Dry) and with (Wet) 8D and reverb

video: media/$(STEM)-1080p.mkv merge ## mirror, widen, title and scale the square video, then merge

merge: $(STEM).mkv ## put picture and sound into one film

build: audio video ## audio and video, on the square video that is there

amerge: audio merge ## audio and merge: after a change that only touches the sound

preview: checked audio gan merge ## 10 seconds of the film at a quarter of its size, in a film of its own

short: $(TITLE)-short.mp4 ## an upright film of 15 to 60 seconds for phones, of the square video that is there

poster: $(TITLE)-poster.png ## a frame of the film with the title, at twice its size

strip: media/$(STEM)-strip.jpg ## the film at a glance: frames at even times, on one page

check: $(TITLE).mkv | $(READY) ## measure the film: loudness, sync, flashes, gaps; fails where a limit is broken
	@$(PY) -m musicvideo check-film $< --json media/$(TITLE)-check.json --plot media/$(TITLE)-check.png

weights: $(READY) ## fetch BigGAN's weights for RESOLUTION ahead of time
	@$(PY) -m musicvideo weights --resolution="$$RESOLUTION"

lint: $(READY) ## check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Two workers take one file of tests after another, as tests/conftest.py groups and orders them.
IN_PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

test: lint $(WITH_SOX) $(WITH_MUSESCORE) ## lint, and all tests but those of the studio and of Ray
	$(PY) -m pytest $(IN_PARALLEL) $(addprefix --ignore tests/,test_cluster.py test_studio.py test_studio_page.py)

test-fast: $(READY) $(WITH_SOX) $(WITH_MUSESCORE) ## the tests for before each commit: a minute
	$(PY) -m pytest $(IN_PARALLEL) -m "not slow"

test-cluster: $(WITH_RAY) ## the tests on a Ray cluster: minutes; installs Ray
	$(PY) -m pytest tests/test_cluster.py

test-studio: $(WITH_BROWSER) $(WITH_SOX) ## the tests of the studio, in a browser (Chromium)
	$(PY) -m pytest tests/test_studio.py tests/test_studio_page.py

test-trust: $(READY) $(WITH_SOX) $(WITH_MUSESCORE) ## the long campaigns of hostile files and faults: hours
	TRUST_CASES=200 $(PY) -m pytest tests/trust

bench: $(READY) ## measure speed, beside what there was before (some minutes each)
	$(PY) -m benchmarks.biggan
	$(PY) -m benchmarks.features
	$(PY) -m benchmarks.eightd
	$(PY) -m benchmarks.film

clean: ## delete every intermediate file (everything in media/, the square videos too)
	find media -mindepth 1 ! -name .gitkeep -delete

distclean: clean ## delete the film and the Python environment as well
	rm -rf $(foreach end,.mkv .mp4 -excerpt.mkv -excerpt.mp4 -preview.mkv -short.mp4 -poster.png,$(TITLE)$(end)) .venv build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache

FORCE:

# Write settings to a file only if they changed, so that only then the targets that depend on it are made again.
remember = cat > $@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# -- scores/ or a song -> media/ -----------------------------------------------------------------------------

# Settings that `video` and `audio` would refuse are refused before hours of drawing, and before anything else is made.
first := $(if $(filter gan demo preview,$(MAKECMDGOALS)),checked)
checked: | $(READY)
	@$(PY) -m musicvideo check $(FILM) -- "$(if $(DRAFT),,$$MIX_TABLE)" $(TITLE)

# Python finds out which exports are missing or old, since make does not know the parts of a score.
media/%.wav: scores/%.mscz FORCE | $(READY) $(first)
	@$(PY) -m musicvideo score $(only_say) $<

# The clock is exported with it. A rule for both would make again whatever depends on the second one, each time.
media/%.mid: media/%.wav ;

ifneq ($(SONG),)
media/$(TITLE).wav: FORCE | $(READY) $(first)
	@$(PY) -m musicvideo song -- "$$SONG" $@
else ifeq ($(SCORES),)
media/$(TITLE).wav:
	@echo "error: no scores/$(TITLE).mscz; write that score, or give a song with SONG=path" >&2; exit 1
endif

# -- song -> notes -------------------------------------------------------------------------------------------

FOLLOWS_NOTES := $(filter score,$(MAPPING))
NOTES := media/$(TITLE)$(if $(MIDI),.given,$(if $(SCORES),,.notes)).mid

# Somebody may have corrected what was heard, so it is written anew only where the song is newer.
media/%.notes.mid: media/%.wav | $(READY)
	@$(PY) -m musicvideo notes $< $@

# A path that a person typed may hold anything, so make sees a copy.
media/$(TITLE).given.mid: FORCE
	@test -f "$$MIDI" || { echo "error: no such file: MIDI=$$MIDI" >&2; exit 1; }
	@cmp -s -- "$$MIDI" $@ || { cp -- "$$MIDI" $@.new && mv $@.new $@; }

tables: media/$(TITLE).wav $(NOTES) | $(READY) ## write scores/TITLE.mix.toml and .conduct.toml, for you to edit
	@$(PY) -m musicvideo tables $(TITLE) $(NOTES)

# -- song -> square video ------------------------------------------------------------------------------------

DRAW = classes=$$($(PY) -m musicvideo words -- "$$CLASSES") && eval "set -- $$classes" && \
	$(PY) visualize.py --song $< $${1+--classes} "$$@" --generator="$$GENERATOR" --resolution="$$RESOLUTION" \
	$${FPS:+--fps="$$FPS"} $${SEED:+--seed="$$SEED"} $${WEIGHTS:+--weights="$$WEIGHTS"} --mapping="$$MAPPING" \
	$(if $(FOLLOWS_NOTES),--midi=$(NOTES) $${CONDUCT:+--conduct="$$CONDUCT"}) $(GAN_FLAGS)

# `gan` and `storyboard` each record the settings that they drew with; `make build` needs none of them.
media/$(STEM).gan media/$(TITLE).board: FORCE | $(first)
	@printf '%s\n' "$$GENERATOR" "$$RESOLUTION" "$$FPS" "$$SEED" "$$CLASSES" "$$WEIGHTS" "$$MAPPING" "$$CONDUCT" \
	"$$DRAW_FLAGS" $(if $(WHOLE),,"$$START" "$$DURATION") "$$(test ! -f "$$CONDUCT" || cksum < "$$CONDUCT")" \
	"$$(sed -n 's/^score *= *"\(.*\)".*/\1/p' "$$CONDUCT" 2>/dev/null | while read -r ways; do cksum "$$ways"; done)" \
	| { $(remember); }

# A new version of the repository may have other embedded weights, and a generator of one's own may be trained anew.
WEIGHTS_HERE := $(wildcard $(addsuffix /model.safetensors,$(foreach name,$(firstword $(GENERATOR)),\
	musicvideo/assets/$(name) media/$(name).generator $(name))))

media/$(TITLE)-storyboard.png: media/$(TITLE).wav media/$(TITLE).board $(WEIGHTS_HERE) \
		$(if $(FOLLOWS_NOTES),$(NOTES)) | $(READY)
	@$(DRAW) --storyboard $@

# It may take hours, so only `gan` and `demo` draw it; `build` and the others use the existing one.
ifneq ($(filter gan demo preview media/$(STEM).mp4,$(MAKECMDGOALS)),)
media/$(STEM).mp4: media/$(TITLE).wav media/$(STEM).gan $(WEIGHTS_HERE) $(if $(FOLLOWS_NOTES),$(NOTES)) | $(READY) checked \
		$(if $(CLUSTER),$(WITH_RAY))
	@$(DRAW) --output_file $@ --replace $(if $(filter-out 0,$(OVERWRITE)),--overwrite) $${CLUSTER:+--cluster="$$CLUSTER"} \
	$(if $(WHOLE),,--start=0) $(EXCERPT)
else
media/$(STEM).mp4:
	@echo "error: $@, the square video, is missing: run \`make gan\` first (or \`make gan GENERATOR=cppn\`," \
	"which needs no weights), with the same TITLE" >&2; exit 1
endif
ifneq ($(filter demo preview audio video merge build amerge,$(MAKECMDGOALS)),)
media/$(STEM).mp4: | $(MIXES)
endif

# -- parts -> mix ----------------------------------------------------------------------------------------------

media/%.mix.toml: media/%.mid media/%.wav FORCE | $(READY)
	@$(PY) -m musicvideo draft $*

# What a .mkv carries beside the main mix; nothing is mixed for it where no .mkv is made.
LISTENED := $(if $(filter demo preview video merge build amerge strip $(STEM).mkv,$(MAKECMDGOALS)),$(if $(BY_HAND),,$(filter \
	all,$(LISTENS))))
STEREO := $(if $(filter all,$(LISTENS)),$(if $(BY_HAND),$(wildcard media/$(TITLE)-Dry.wav),media/$(TITLE)-Dry.wav))

# mix.py finds out which table and which parts are used, and leaves both mixes as they are if nothing changed.
media/$(TITLE)-Wet.wav media/$(TITLE)-Dry.wav: $(if $(BY_HAND),$(wildcard media/$(TITLE).wav),media/$(TITLE).wav \
	$(SCORES:scores/%.mscz=media/%.mid) $(DRAFT) FORCE)

media/%-Wet.wav media/%-Dry.wav: | $(READY) $(WITH_SOX)
	@$(PY) mix.py "$$MIX_TABLE" --title $* $(if $(LISTENED),--rehearsals)

# The list of rehearsals is written with the mixes.
media/rehearsals/%.json: media/%-Wet.wav ;

# -- square video -> film --------------------------------------------------------------------------------------

CARD = --title="$$TITLE_TEXT" --font="$$FONT" --mirror="$$MIRROR" --look="$$LOOK"
SIZE = --width="$$WIDTH" --height="$$HEIGHT"
QUARTER = $(if $(PREVIEW),--quarter)
FILM = $(SIZE) $(QUARTER) $(CARD) --intro="$$INTRO" --outro="$$OUTRO" --pulse="$$PULSE" --codec="$$ENCODER" $(EXCERPT)

# The picture depends on the mix's length, not on its sound: a new mix of the same length needs no new picture.
media/$(STEM).film: media/$(TITLE)-Wet.wav FORCE
	@{ printf '%s\n' "$$WIDTH" "$$HEIGHT" "$$INTRO" "$$OUTRO" "$$MIRROR" "$$LOOK" "$$PULSE" "$$ENCODER" "$$FONT" \
	"$$TITLE_TEXT" $(if $(WHOLE),,"$$START" "$$DURATION"); wc -c < $<; } | { $(remember); }

media/$(STEM)-1080p.mkv: media/$(STEM).mp4 media/$(STEM).film $(if $(filter-out 0,$(PULSE)),media/$(TITLE).wav) | $(READY)
	@$(PY) -m musicvideo video $(FILM) --song media/$(TITLE).wav $< media/$(TITLE)-Wet.wav $@

media/$(STEM)-cover.jpg: media/$(STEM).mp4 media/$(STEM).film | $(READY)
	@$(PY) -m musicvideo cover $(SIZE) $(QUARTER) $(CARD) $(EXCERPT) $< media/$(TITLE)-Wet.wav $@

media/$(STEM).listens: FORCE | $(first)
	@printf '%s\n' "$$LISTENS" | { $(remember); }

# Both mixes are always written together.
$(STEM).mkv: media/$(STEM).listens media/$(STEM)-cover.jpg $(if $(LISTENED),media/rehearsals/$(TITLE).json) | $(STEREO)

# The suffix chooses the format: `make Impassive.mp4` is for devices that do not play FLAC in Matroska.
$(STEM).mkv $(STEM).mp4: media/$(STEM)-1080p.mkv media/$(TITLE)-Wet.wav | $(READY)
	@test ! media/$(TITLE).wav -nt media/$(STEM).mp4 || echo "note: media/$(STEM).mp4 was drawn from an earlier" \
	"media/$(TITLE).wav; \`make gan\` draws it anew" >&2
	@$(PY) -m musicvideo merge media/$(STEM)-1080p.mkv media/$(TITLE)-Wet.wav $@ --intro="$$INTRO" --title="$$TITLE_TEXT" \
	$(EXCERPT) $(CREDITS) $(if $(SCORES),--clock media/$(TITLE).mid) $(if $(filter %.mkv,$@),--cover media/$(STEM)-cover.jpg \
	$(if $(STEREO),--stereo $(STEREO)) $(if $(LISTENED),--rehearsals media/rehearsals/$(TITLE).json))

CREDITS = $(if $(SCORES),--score $(firstword $(SCORES)))

media/$(STEM)-strip.jpg: $(STEM).mkv | $(READY)
	@$(PY) -m musicvideo strip $< $@

# -- square video -> short film, poster ------------------------------------------------------------------------

media/$(TITLE).short: FORCE
	@printf '%s\n' "$$START" "$$LENGTH" "$$MIRROR" "$$LOOK" "$$PULSE" "$$FONT" "$$TITLE_TEXT" | { $(remember); }

CLOCK := $(if $(SCORES),media/$(TITLE).mid,$(wildcard $(NOTES)))

$(TITLE)-short.mp4: media/$(TITLE).mp4 media/$(TITLE)-Wet.wav media/$(TITLE).short $(CLOCK) | $(READY)
	@$(PY) -m musicvideo short $< media/$(TITLE)-Wet.wav $@ $(CARD) --pulse="$$PULSE" --song media/$(TITLE).wav $(CREDITS) \
	$(if $(CLOCK),--clock $(CLOCK)) $${START:+--start="$$START"} $${LENGTH:+--length="$$LENGTH"}

media/$(TITLE).poster: FORCE
	@printf '%s\n' "$$START" "$$WIDTH" "$$HEIGHT" "$$MIRROR" "$$LOOK" "$$FONT" "$$TITLE_TEXT" | { $(remember); }

$(TITLE)-poster.png: media/$(TITLE).mp4 media/$(TITLE)-Wet.wav media/$(TITLE).poster | $(READY)
	@$(PY) -m musicvideo poster $< media/$(TITLE)-Wet.wav $@ $(SIZE) $(CARD) $${START:+--start="$$START"}
