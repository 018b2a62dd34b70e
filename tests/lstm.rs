//! Placeholder: written with the code that it tests.
