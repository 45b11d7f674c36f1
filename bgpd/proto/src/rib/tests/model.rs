//! Random histories against a model that knows no groups, cursors or words.
