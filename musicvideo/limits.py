"""Limits of input files. An input beyond a limit is refused, since it is an error or an attack.

Each limit is far beyond what music needs, and bounds time and memory. Limits of a single field stand beside it: in
`assets/panning.schema.json` for panning scores, in `sound/table.py` for mix tables.
"""

LONGEST = 24 * 3600  # seconds of a sound, a piece or a motion
SAMPLE_RATES = (4000, 768_000)  # Hz of a sound file
LARGEST_SAMPLE = 2.0**31  # of a floating-point file, whose full scale is 1; some hold unscaled 32-bit integers
MIDI_BYTES = 2 << 20  # of a MIDI file; a symphony has less than one
MEASURES = 100_000  # of a piece
PARTS = 500  # of a MIDI file: instruments that have notes
SECTIONS = 1000  # of a piece, by the markers of its MIDI file or its conduct table
DENOMINATOR = 128  # of a time signature; MuseScore goes to 128
PANNING_BYTES = 1 << 20  # of a panning score
TABLE_BYTES = 1 << 17  # of a mix table or a conduct table
TABLE_LINE = 4096  # characters of one of its lines; the time to read a line grows with its square
SETS = 100  # of a panning score
MOVES = 5000  # of a set
WEIGHTS_BYTES = 1 << 30  # of a file of weights; four times the largest published ones
PICTURE_PIXELS = 64_000_000  # of a picture that a generator is trained on
PICTURES = 200  # of one generator
