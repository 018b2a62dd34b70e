//! What a run leaves behind for people: metrics while it runs, Markdown, HTML and plots after.
