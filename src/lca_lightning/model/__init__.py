"""The avatar model: tokens, encoder, decoders, skinning and rendering."""
