/* Module brotli.core: Brotli's streams, which the module brotli is made of. Names are those
** of Python's brotli. */
#include <brotli/decode.h>
#include <brotli/encode.h>
#include <string.h>

#include "coder.h"

typedef struct brencoder {
  ml_coder c; /* first */
  BrotliEncoderState *state;
} brencoder;

typedef struct brdecoder {
  ml_coder c; /* first */
  BrotliDecoderState *state;
} brdecoder;

static int encode_step(ml_coder *c, ml_span *s, int mode) {
  brencoder *e = (brencoder *)c;
  BrotliEncoderOperation op = (BrotliEncoderOperation)mode;
  if (!BrotliEncoderCompressStream(e->state, op, &s->nin, &s->in, &s->nout, &s->out, NULL))
    return ML_CODE_FAILED;
  if (BrotliEncoderIsFinished(e->state)) return ML_CODE_END;
  return s->nin > 0 || BrotliEncoderHasMoreOutput(e->state) ? ML_CODE_FULL : ML_CODE_MORE;
}

static int decode_step(ml_coder *c, ml_span *s, int mode) {
  brdecoder *d = (brdecoder *)c;
  (void)mode;
  switch (BrotliDecoderDecompressStream(d->state, &s->nin, &s->in, &s->nout, &s->out, NULL)) {
  case BROTLI_DECODER_RESULT_SUCCESS: return ML_CODE_END;
  case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT: return ML_CODE_MORE;
  case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT: return ML_CODE_FULL;
  default: c->status = BrotliDecoderGetErrorCode(d->state); return ML_CODE_FAILED;
  }
}

/* The encoder fails for want of memory alone. */
static bool encode_why(lua_State *L, ml_coder *c) {
  (void)L;
  (void)c;
  return false;
}

static bool decode_why(lua_State *L, ml_coder *c) {
  if (c->status <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
      c->status >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES)
    return false;
  lua_pushfstring(L, "error while decompressing data: %s",
                  BrotliDecoderErrorString((BrotliDecoderErrorCode)c->status));
  return true;
}

static void encode_end(ml_coder *c) { BrotliEncoderDestroyInstance(((brencoder *)c)->state); }
static void decode_end(ml_coder *c) { BrotliDecoderDestroyInstance(((brdecoder *)c)->state); }

static const ml_codec encoding = {"moonloop.brotli", "compressing", encode_step, encode_why,
                                  encode_end};
static const ml_codec decoding = {"moonloop.brotli", "decompressing", decode_step, decode_why,
                                  decode_end};

/* compressor{mode, quality, lgwin, lgblock} */
static int f_compressor(lua_State *L) {
  static const char *const keys[] = {"mode", "quality", "lgwin", "lgblock", NULL};
  static const char *const fname = "Compressor";
  int mode, quality, lgwin, lgblock;
  brencoder *e;
  lua_settop(L, 1);
  ml__checkoptions(L, 1, keys, fname);
  mode = ml__coder_option(L, 1, "mode", BROTLI_MODE_GENERIC, 0, BROTLI_MODE_FONT, fname);
  quality = ml__coder_option(L, 1, "quality", 11, 0, 11, fname);
  lgwin = ml__coder_option(L, 1, "lgwin", 22, 10, 24, fname);
  lgblock = ml__coder_option(L, 1, "lgblock", 0, 0, 24, fname);
  if (lgblock != 0 && lgblock < 16)
    return ml__misuse(L, "ValueError", "%s: lgblock must be 0 or 16 to 24, got %d", fname, lgblock);
  e = ml__coder_new(L, ML_T_BRCOMPRESS, &encoding, sizeof *e);
  e->state = BrotliEncoderCreateInstance(ml__coder_alloc, ml__coder_free, e->c.heap);
  if (e->state == NULL) return luaL_error(L, "not enough memory");
  e->c.obj.state = ML_CODER_OPEN;
  BrotliEncoderSetParameter(e->state, BROTLI_PARAM_MODE, (uint32_t)mode);
  BrotliEncoderSetParameter(e->state, BROTLI_PARAM_QUALITY, (uint32_t)quality);
  BrotliEncoderSetParameter(e->state, BROTLI_PARAM_LGWIN, (uint32_t)lgwin);
  BrotliEncoderSetParameter(e->state, BROTLI_PARAM_LGBLOCK, (uint32_t)lgblock);
  return 1;
}

/* decompressor() */
static int f_decompressor(lua_State *L) {
  brdecoder *d;
  lua_settop(L, 0);
  d = ml__coder_new(L, ML_T_BRDECOMPRESS, &decoding, sizeof *d);
  d->state = BrotliDecoderCreateInstance(ml__coder_alloc, ml__coder_free, d->c.heap);
  if (d->state == NULL) return luaL_error(L, "not enough memory");
  d->c.obj.state = ML_CODER_OPEN;
  return 1;
}

/* ---- methods ---- */

static int m_process(lua_State *L) {
  return ml__coder_feed(L, ml__checkcoder(L, ML_T_BRCOMPRESS), BROTLI_OPERATION_PROCESS);
}
static int m_flush(lua_State *L) {
  return ml__coder_flush(L, ml__checkcoder(L, ML_T_BRCOMPRESS), BROTLI_OPERATION_FLUSH);
}
static int m_finish(lua_State *L) {
  return ml__coder_flush(L, ml__checkcoder(L, ML_T_BRCOMPRESS), BROTLI_OPERATION_FINISH);
}

static int m_deprocess(lua_State *L) {
  return ml__coder_decode(L, ml__checkcoder(L, ML_T_BRDECOMPRESS), "process");
}
static int m_is_finished(lua_State *L) {
  lua_pushboolean(L, ml__checkcoder(L, ML_T_BRDECOMPRESS)->obj.state == ML_CODER_ENDED);
  return 1;
}

int ml__open_brotli(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"compressor", f_compressor}, {"decompressor", f_decompressor}, {NULL, NULL}};
  static const luaL_Reg compress[] = {
      {"process", m_process}, {"flush", m_flush}, {"finish", m_finish}, {NULL, NULL}};
  static const luaL_Reg decompress[] = {
      {"process", m_deprocess}, {"is_finished", m_is_finished}, {NULL, NULL}};
  luaL_newlib(L, functions);
  ml__coder_type(L, ML_T_BRCOMPRESS, "Compressor", compress, NULL);
  ml__coder_type(L, ML_T_BRDECOMPRESS, "Decompressor", decompress, ml__coder_fields);
  ml__coder_errors(L, encoding.name, "brotli.error");
  lua_pushinteger(L, BROTLI_MODE_GENERIC);
  lua_setfield(L, -2, "MODE_GENERIC");
  lua_pushinteger(L, BROTLI_MODE_TEXT);
  lua_setfield(L, -2, "MODE_TEXT");
  lua_pushinteger(L, BROTLI_MODE_FONT);
  lua_setfield(L, -2, "MODE_FONT");
  return 1;
}
