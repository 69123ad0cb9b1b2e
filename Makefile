# Scores or a song -> a music video. Every stage is a file in media/; `make help` lists what there is.
#
#   scores/*.mscz --scores--> media/parts/*/*.wav, media/$(TITLE).wav --gan--> media/$(TITLE).mp4 (square)
#                             media/parts/*/*.wav --audio--> media/$(TITLE)-Dry.wav, media/$(TITLE)-Wet.wav
#                media/$(TITLE).mp4 --video--> media/$(TITLE)-1080p.mkv --merge--> $(TITLE).mkv
#
# GNU make 3.81 (macOS) is enough.

SHELL := /bin/sh
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := help

# -- Variables, all for the command line ------------------------------------------------------------------

TITLE ?= Impassive
SONG ?=
GENERATOR ?= $(if $(filter demo,$(MAKECMDGOALS)),pocket,biggan)
RESOLUTION ?= 512
FPS ?= 30
SEED ?= 7
# What the piece is about: the first is seen most, for it belongs to the pitch that sounds most.
CLASSES ?= $(if $(filter Impassive-pocket,$(TITLE)-$(GENERATOR)),mushroom eye hourglass butterfly moon 'spider web' \
	jellyfish snowflake candle brain skull bell)
WEIGHTS ?=
GAN_FLAGS ?=
OVERWRITE ?=
TITLE_TEXT ?= $(TITLE)
FONT ?=
WIDTH ?= 1920
HEIGHT ?= 1080
INTRO ?= 4
OUTRO ?= 4
LOOK ?= none
PULSE ?= 0
ENCODER ?= h264
SYSTEM_DEPS ?= install

safe := A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a b c d e f g h i j k l m n o p q r s t u v w x y z \
        0 1 2 3 4 5 6 7 8 9 - _
left := $(value TITLE)
$(foreach letter,$(safe),$(eval left := $$(subst $(letter),,$$(left))))
ifneq ($(left),)
$(error TITLE=$(value TITLE): use letters, digits, - and _ only)
endif
ifneq ($(filter -% %-Wet %-Dry %-8d %-1080p %-storyboard,$(TITLE)),)
$(error TITLE=$(TITLE): may not begin with -, nor end like a file of another title: -Wet, -Dry, -8d, -1080p, -storyboard)
endif
ifeq ($(TITLE),)
$(error TITLE is empty: give the film a name, of letters, digits, - and _)
endif

# A path may hold what make would expand or split: it goes through the environment, never through make's own lists.
override SONG := $(value SONG)
override FONT := $(value FONT)
override WEIGHTS := $(value WEIGHTS)
override TITLE_TEXT := $(if $(filter file default,$(origin TITLE_TEXT)),$(TITLE),$(value TITLE_TEXT))
export SONG TITLE_TEXT FONT WEIGHTS

SCORES := $(wildcard scores/$(TITLE).mscz scores/$(TITLE)-8d.mscz)
ifneq ($(SONG),)
  ifneq ($(SCORES),)
    $(error TITLE=$(TITLE) belongs to $(firstword $(SCORES)): give your SONG a TITLE of its own)
  endif
endif

# -- The Python environment and the programs: set up once, by whatever comes first -------------------------

# An active conda environment is used as it is; `base` is nobody's project environment.
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
  ENV := $(CONDA_PREFIX)
else
  ENV := .venv
endif
PY := $(ENV)/bin/python
READY := $(ENV)/.musicvideo-packages
python3 := $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)

$(ENV)/.musicvideo-programs: musicvideo/system.py
	@test -n "$(python3)" || { echo "error: Python 3.10 to 3.13 is needed: install python3" >&2; exit 1; }
	@$(python3) -m musicvideo setup $(if $(filter check,$(SYSTEM_DEPS)),--check)
	@mkdir -p $(dir $@)
	@touch $@

$(READY): pyproject.toml requirements.lock $(ENV)/.musicvideo-programs
ifeq ($(ENV),.venv)
	@echo "Installing Python packages into .venv (torch is large: some minutes)"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(python3) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[test]'
else
	@$(PY) -m musicvideo setup --packages
endif
	@touch $@

.PHONY: setup doctor
setup: $(READY) ## set up Python packages and programs (every other target does this by itself)

doctor: ## print which programs were found, where, and what each is for
	@$(if $(wildcard $(PY)),$(PY),$(python3)) -m musicvideo doctor

# -- Targets ----------------------------------------------------------------------------------------------

.PHONY: help demo scores gan audio video merge build amerge storyboard weights test bench clean distclean checked FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile
	@printf '%s\n' '' 'Variables (make demo TITLE_TEXT="My title" FPS=25):' \
	'  TITLE        name of score and film: scores/TITLE.mscz -> TITLE.mkv   [$(TITLE)]' \
	'  SONG         a song of yours, any audio file, instead of a score; needs a TITLE of its own' \
	'  GENERATOR    what draws: biggan (needs weights), pocket or cppn (need nothing)   [$(GENERATOR)]' \
	'  RESOLUTION   side of the square picture; BigGAN has 128, 256, 512   [$(RESOLUTION)]' \
	'  FPS          frames a second: 30, 25, 30000/1001 ...   [$(FPS)]' \
	'  SEED         another seed, another film   [$(SEED)]' \
	'  CLASSES      what may appear, names or numbers: CLASSES="mushroom castle"   [drawn by SEED]' \
	'  WEIGHTS      folder with BigGAN weights   [cache, else download]' \
	'  GAN_FLAGS    more for visualize.py: GAN_FLAGS="--jitter 0.8 --depth 0.7"' \
	'  MIX          mix table   [$(MIX)]' \
	'  OVERWRITE    1: start over where an interrupted drawing had other settings' \
	'  TITLE_TEXT   words of the title card; empty for none   [$$TITLE]' \
	'  FONT         font family of the title card' \
	'  WIDTH HEIGHT size of the film   [$(WIDTH) $(HEIGHT)]' \
	'  INTRO OUTRO  seconds of slow opening, and of back and forth at the end; 0 for none   [$(INTRO) $(OUTRO)]' \
	'  LOOK         none, vintage, noir or dream   [$(LOOK)]' \
	'  PULSE        0..1, how far the picture jumps on each beat   [$(PULSE)]' \
	'  ENCODER      of the film: h264, hevc, h264_nvenc, h264_videotoolbox ...   [$(ENCODER)]' \
	'  SYSTEM_DEPS  check: never install programs, only say which are missing   [$(SYSTEM_DEPS)]' \
	'  FFMPEG FFPROBE SOX MUSESCORE   programs elsewhere than on PATH'

# Sound first: it takes seconds, and what is wrong with a part or a motion shows before the drawing.
demo: checked audio gan build ## the whole film with the embedded generator: runs anywhere

scores: $(SCORES:scores/%.mscz=media/%.mid) media/$(TITLE).wav ## export every part, the full mix and the MIDI clock

gan: checked media/$(TITLE).mp4 ## draw the square video of the unaltered song (BigGAN: may take hours)

storyboard: media/$(TITLE)-storyboard.png ## what a drawing would look like, and how long it would take

audio: media/$(TITLE)-Wet.wav media/$(TITLE)-Dry.wav ## mix the parts, without (Dry) and with (Wet) 8D and reverb

video: media/$(TITLE)-1080p.mkv merge ## mirror, widen, title and scale the square video, then merge

merge: $(TITLE).mkv ## put picture and sound into one film

build: audio video ## audio and video, on the square video that is there

amerge: audio merge ## audio and merge: after a change that only touches the sound

weights: $(READY) ## fetch BigGAN's weights for RESOLUTION ahead of time
	$(PY) -m musicvideo weights --resolution $(RESOLUTION)

test: $(READY) ## run the tests
	$(PY) -m pytest

bench: $(READY) ## measure speed, beside what there was before (some minutes each)
	$(PY) -m benchmarks.biggan
	$(PY) -m benchmarks.features
	$(PY) -m benchmarks.eightd
	$(PY) -m benchmarks.film

clean: ## delete every intermediate file (everything in media/, the square videos too)
	find media -mindepth 1 ! -name .gitkeep -delete

distclean: clean ## delete the film and the Python environment as well
	rm -rf $(TITLE).mkv $(TITLE).mp4 .venv *.egg-info .pytest_cache

FORCE:

# Write a setting to a file only if it changed, so that what stands on it is made again then, and only then.
remember = cat > $@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# -- scores/ or a song -> media/ -----------------------------------------------------------------------------

media/%.wav media/%.mid: scores/%.mscz | $(READY)
	$(PY) -m musicvideo score $<

ifneq ($(SONG),)
media/$(TITLE).wav: FORCE | $(READY)
	@$(PY) -m musicvideo song -- "$$SONG" $@
else ifeq ($(SCORES),)
media/$(TITLE).wav:
	@echo "error: no scores/$(TITLE).mscz; write that score, or give a song with SONG=path" >&2; exit 1
endif

# -- song -> square video ------------------------------------------------------------------------------------

DRAW = $(PY) visualize.py --song $< --generator $(GENERATOR) --resolution $(RESOLUTION) --fps $(FPS) --seed $(SEED) \
	$(if $(CLASSES),--classes $(CLASSES)) $(if $(WEIGHTS),--weights "$$WEIGHTS") $(GAN_FLAGS)

# What draws remembers its settings, each for itself; `make build` needs none of them.
export GAN_SETTINGS = $(GENERATOR) $(RESOLUTION) $(FPS) $(SEED) $(CLASSES) $(WEIGHTS) $(GAN_FLAGS)
media/$(TITLE).gan media/$(TITLE).board: FORCE
	@printf '%s\n' "$$GAN_SETTINGS" | { $(remember); }

media/$(TITLE)-storyboard.png: media/$(TITLE).wav media/$(TITLE).board | $(READY)
	$(DRAW) --storyboard $@

# What `video` and `audio` would refuse is refused before hours of drawing.
checked: | $(READY)
	@$(PY) -m musicvideo check "$$MIX_TABLE" $(TITLE) $(FILM)

# It may cost hours, so only `gan` and `demo` draw it; `build` and the others take the one that is there.
ifneq ($(filter gan demo media/$(TITLE).mp4,$(MAKECMDGOALS)),)
media/$(TITLE).mp4: media/$(TITLE).wav media/$(TITLE).gan | $(READY) checked
	$(DRAW) --output_file $@ $(if $(filter-out 0,$(OVERWRITE)),--overwrite)
else
media/$(TITLE).mp4:
	@echo "error: $@, the square video, is missing: run \`make gan\` first (or \`make gan GENERATOR=pocket\`," \
	"which needs no weights), with the same TITLE" >&2; exit 1
endif

# -- parts -> mix ----------------------------------------------------------------------------------------------

MIX ?= $(firstword $(wildcard scores/$(TITLE).mix.toml) scores/song.mix.toml)
override MIX := $(if $(filter file default,$(origin MIX)),$(MIX),$(value MIX))
export MIX_TABLE := $(MIX)

# Which table it is and which parts it names is for mix.py to see, which leaves both mixes alone where nothing changed.
media/$(TITLE)-Wet.wav media/$(TITLE)-Dry.wav: media/$(TITLE).wav $(SCORES:scores/%.mscz=media/%.mid) FORCE

media/%-Wet.wav media/%-Dry.wav: | $(READY)
	@$(PY) mix.py "$$MIX_TABLE" --title $*

# -- square video -> film --------------------------------------------------------------------------------------

FILM = --width $(WIDTH) --height $(HEIGHT) --intro $(INTRO) --outro $(OUTRO) --title="$$TITLE_TEXT" --font="$$FONT" \
	--look $(LOOK) --pulse $(PULSE) --codec $(ENCODER)

# The picture depends on the mix's length, not on its sound: a new mix of the same length needs no new picture.
export FILM_SETTINGS = $(WIDTH) $(HEIGHT) $(INTRO) $(OUTRO) $(LOOK) $(PULSE) $(ENCODER) $(FONT) $(TITLE_TEXT)
media/$(TITLE).film: media/$(TITLE)-Wet.wav FORCE
	@{ printf '%s\n' "$$FILM_SETTINGS"; wc -c < $<; } | { $(remember); }

media/$(TITLE)-1080p.mkv: media/$(TITLE).mp4 media/$(TITLE).film $(if $(filter-out 0,$(PULSE)),media/$(TITLE).wav) | $(READY)
	$(PY) -m musicvideo video $< media/$(TITLE)-Wet.wav $@ $(FILM) --song media/$(TITLE).wav

# The name says what it is: `make Impassive.mp4` makes one for devices that do not take FLAC in Matroska.
$(TITLE).mkv $(TITLE).mp4: media/$(TITLE)-1080p.mkv media/$(TITLE)-Wet.wav | $(READY)
	@test ! media/$(TITLE).wav -nt media/$(TITLE).mp4 || echo "note: media/$(TITLE).mp4 was drawn from an earlier" \
	"media/$(TITLE).wav; \`make gan\` draws it anew" >&2
	$(PY) -m musicvideo merge $^ $@ --intro $(INTRO) --title="$$TITLE_TEXT" \
	$(if $(SCORES),--score $(firstword $(SCORES)) --clock media/$(TITLE).mid)
