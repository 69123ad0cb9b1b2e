"""The studio: a page in the browser, on this machine, to choose, see, hear, render and play.

It calls the functions that the scripts call, and renders with make. Only `page` knows of Gradio.
"""
