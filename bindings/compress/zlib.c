/* Module zlib.core: zlib's streams, which the module zlib is made of. Names are those of
** Python's zlib. */
#define ZLIB_CONST
#include <string.h>
#include <zlib.h>

#include "coder.h"

typedef struct zcoder {
  ml_coder c; /* first */
  z_stream z;
  const char *dict; /* of a decompressor, or NULL; user value 3 */
  size_t ndict;
} zcoder;

static void *z_alloc(void *heap, unsigned n, unsigned size) {
  return ml__coder_alloc(heap, (size_t)n * size);
}

/* zlib counts in unsigned: what is larger goes in parts. */
static void lend(z_stream *z, const ml_span *s) {
  z->next_in = s->in;
  z->avail_in = s->nin > UINT32_MAX / 2 ? UINT32_MAX / 2 : (unsigned)s->nin;
  z->next_out = s->out;
  z->avail_out = (unsigned)s->nout;
}

static void take_back(const z_stream *z, ml_span *s) {
  s->nin -= (size_t)(z->next_in - s->in);
  s->in = z->next_in;
  s->nout -= (size_t)(z->next_out - s->out);
  s->out = z->next_out;
}

static int deflate_step(ml_coder *c, ml_span *s, int mode) {
  zcoder *d = (zcoder *)c;
  int rc;
  lend(&d->z, s);
  rc = deflate(&d->z, d->z.avail_in < s->nin ? Z_NO_FLUSH : mode);
  take_back(&d->z, s);
  c->status = rc;
  if (rc == Z_STREAM_END) return ML_CODE_END;
  if (rc != Z_OK && rc != Z_BUF_ERROR) return ML_CODE_FAILED;
  return s->nout == 0 || s->nin > 0 ? ML_CODE_FULL : ML_CODE_MORE;
}

static int inflate_step(ml_coder *c, ml_span *s, int mode) {
  zcoder *d = (zcoder *)c;
  int rc;
  (void)mode;
  lend(&d->z, s);
  rc = inflate(&d->z, Z_SYNC_FLUSH);
  take_back(&d->z, s);
  c->status = rc;
  if (rc == Z_STREAM_END) return ML_CODE_END;
  if (rc == Z_NEED_DICT && d->dict != NULL) {
    c->status = inflateSetDictionary(&d->z, (const Bytef *)d->dict, (unsigned)d->ndict);
    return c->status == Z_OK ? ML_CODE_FULL : ML_CODE_FAILED;
  }
  if (rc != Z_OK && rc != Z_BUF_ERROR) return ML_CODE_FAILED;
  return s->nout == 0 || (rc == Z_OK && s->nin > 0) ? ML_CODE_FULL : ML_CODE_MORE;
}

static bool push_why(lua_State *L, ml_coder *c) {
  const zcoder *d = (const zcoder *)c;
  static const char *const texts[] = {"stream end", "", "invalid input: a dictionary is needed"};
  const char *what = d->z.msg != NULL           ? d->z.msg
                     : c->status > 0            ? texts[c->status]
                     : c->status == Z_BUF_ERROR ? "incomplete or truncated stream"
                                                : "inconsistent stream state";
  if (c->status == Z_MEM_ERROR) return false;
  lua_pushfstring(L, "Error %d while %s data: %s", c->status, c->codec->doing, what);
  return true;
}

static void deflate_end(ml_coder *c) { deflateEnd(&((zcoder *)c)->z); }
static void inflate_end(ml_coder *c) { inflateEnd(&((zcoder *)c)->z); }

static const ml_codec deflating = {"moonloop.zlib", "compressing", deflate_step, push_why,
                                   deflate_end};
static const ml_codec inflating = {"moonloop.zlib", "decompressing", inflate_step, push_why,
                                   inflate_end};

/* ---- making them ---- */

static zcoder *new_coder(lua_State *L, ml_objtype type, const ml_codec *codec) {
  zcoder *d = ml__coder_new(L, type, codec, sizeof *d);
  d->z.zalloc = z_alloc;
  d->z.zfree = ml__coder_free;
  d->z.opaque = d->c.heap;
  return d;
}

static zcoder *opened(lua_State *L, zcoder *d, int rc) {
  d->c.status = rc;
  if (rc != Z_OK) ml__coder_failed(L, &d->c);
  d->c.obj.state = ML_CODER_OPEN;
  return d;
}

/* The dictionary among the options at 1, or NULL. */
static const char *dictionary(lua_State *L, const char *fname, size_t *n) {
  const char *s;
  if (!lua_istable(L, 1) || lua_getfield(L, 1, "zdict") == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: zdict must be a string, got %s", fname, luaL_typename(L, -1));
  s = lua_tolstring(L, -1, n);
  return s;
}

/* Window bits as zlib has them: zlib's, raw, gzip's. */
static int check_wbits(lua_State *L, const char *fname, bool reading) {
  int w = ml__coder_option(L, 1, "wbits", MAX_WBITS, -MAX_WBITS, reading ? 47 : 31, fname);
  bool ok = (w >= 9 && w <= 15) || (w <= -9 && w >= -15) || (w >= 25 && w <= 31);
  if (reading) ok = ok || w == 0 || (w >= 40 && w <= 47) || w == 8 || w == -8 || w == 32 || w == 24;
  if (!ok)
    ml__misuse(L, "ValueError",
               "%s: wbits must be 9 to 15 (zlib), -9 to -15 (raw) or 25 to 31 (gzip)%s, got %d",
               fname, reading ? " or 40 to 47 (either)" : "", w);
  return w;
}

/* compressobj{level, wbits, memLevel, strategy, zdict} */
static int f_compressobj(lua_State *L) {
  static const char *const keys[] = {"level",    "method", "wbits", "memLevel",
                                     "strategy", "zdict",  NULL};
  static const char *const fname = "compressobj";
  int level, wbits, mem, strategy;
  size_t n = 0;
  const char *dict;
  zcoder *d;
  lua_settop(L, 1);
  ml__checkoptions(L, 1, keys, fname);
  level = ml__coder_option(L, 1, "level", Z_DEFAULT_COMPRESSION, -1, 9, fname);
  ml__coder_option(L, 1, "method", Z_DEFLATED, Z_DEFLATED, Z_DEFLATED, fname);
  wbits = check_wbits(L, fname, false);
  mem = ml__coder_option(L, 1, "memLevel", 8, 1, 9, fname);
  strategy = ml__coder_option(L, 1, "strategy", Z_DEFAULT_STRATEGY, 0, Z_FIXED, fname);
  dict = dictionary(L, fname, &n);
  d = new_coder(L, ML_T_ZCOMPRESS, &deflating);
  opened(L, d, deflateInit2(&d->z, level, Z_DEFLATED, wbits, mem, strategy));
  if (dict != NULL && deflateSetDictionary(&d->z, (const Bytef *)dict, (unsigned)n) != Z_OK)
    return ml__misuse(L, "ValueError", "%s: invalid dictionary", fname);
  return 1;
}

/* decompressobj{wbits, zdict} */
static int f_decompressobj(lua_State *L) {
  static const char *const keys[] = {"wbits", "zdict", NULL};
  static const char *const fname = "decompressobj";
  int wbits;
  zcoder *d;
  lua_settop(L, 1);
  ml__checkoptions(L, 1, keys, fname);
  wbits = check_wbits(L, fname, true);
  d = new_coder(L, ML_T_ZDECOMPRESS, &inflating);
  d->dict = dictionary(L, fname, &d->ndict);
  if (d->dict != NULL) lua_setiuservalue(L, 2, 3);
  opened(L, d, inflateInit2(&d->z, wbits));
  if (d->dict != NULL && wbits < 0 &&
      inflateSetDictionary(&d->z, (const Bytef *)d->dict, (unsigned)d->ndict) != Z_OK)
    return ml__misuse(L, "ValueError", "%s: invalid dictionary", fname);
  lua_settop(L, 2);
  return 1;
}

/* ---- methods ---- */

static zcoder *checked(lua_State *L, ml_objtype type) { return (zcoder *)ml__checkcoder(L, type); }

static int m_compress(lua_State *L) {
  return ml__coder_feed(L, &checked(L, ML_T_ZCOMPRESS)->c, Z_NO_FLUSH);
}

/* flush([mode]): Z_FINISH if nothing is given */
static int m_flush(lua_State *L) {
  zcoder *d = checked(L, ML_T_ZCOMPRESS);
  lua_Integer mode = luaL_optinteger(L, 2, Z_FINISH);
  if (mode < Z_NO_FLUSH || mode > Z_BLOCK)
    return ml__misuse(L, "ValueError", "flush: the mode must be Z_NO_FLUSH to Z_BLOCK, got %I",
                      (LUAI_UACINT)mode);
  return ml__coder_flush(L, &d->c, (int)mode);
}

static int m_decompress(lua_State *L) {
  return ml__coder_decode(L, &checked(L, ML_T_ZDECOMPRESS)->c, "decompress");
}

/* flush(): what is left of input and output, as in Python */
static int m_deflush(lua_State *L) {
  zcoder *d = checked(L, ML_T_ZDECOMPRESS);
  lua_settop(L, 1);
  if (d->c.obj.state == ML_CODER_ENDED) {
    lua_pushliteral(L, "");
    return 1;
  }
  if (lua_getiuservalue(L, 1, 1) != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushliteral(L, "");
  }
  return ml__coder_decode(L, &d->c, "flush");
}

/* A second one that goes on from here. */
static int copy(lua_State *L, ml_objtype type, const ml_codec *codec,
                int (*how)(z_stream *, z_stream *)) {
  zcoder *d = checked(L, type), *n;
  int rc;
  if (d->c.obj.state != ML_CODER_OPEN) {
    lua_pushfstring(L, "copy: the stream has ended");
    return ml__coder_error(L, deflating.name);
  }
  lua_settop(L, 1);
  n = new_coder(L, type, codec);
  for (int i = 1; i <= 3; i++) {
    lua_getiuservalue(L, 1, i);
    lua_setiuservalue(L, 2, i);
  }
  n->dict = d->dict;
  n->ndict = d->ndict;
  rc = how(&n->z, &d->z);
  opened(L, n, rc);
  return 1;
}

static int copy_deflate(z_stream *to, z_stream *from) { return deflateCopy(to, from); }
static int copy_inflate(z_stream *to, z_stream *from) { return inflateCopy(to, from); }
static int m_copy(lua_State *L) { return copy(L, ML_T_ZCOMPRESS, &deflating, copy_deflate); }
static int m_decopy(lua_State *L) { return copy(L, ML_T_ZDECOMPRESS, &inflating, copy_inflate); }

/* ---- checksums ---- */

static int checksum(lua_State *L, uLong (*sum)(uLong, const Bytef *, z_size_t), lua_Integer start) {
  size_t n;
  const char *s = luaL_checklstring(L, 1, &n);
  start = luaL_optinteger(L, 2, start);
  lua_pushinteger(L,
                  (lua_Integer)(sum((uLong)start & 0xffffffff, (const Bytef *)s, n) & 0xffffffff));
  return 1;
}

/* crc32(data [, value]), adler32(data [, value]) */
static int f_crc32(lua_State *L) { return checksum(L, crc32_z, 0); }
static int f_adler32(lua_State *L) { return checksum(L, adler32_z, 1); }

static const struct {
  const char *name;
  int value;
} constants[] = {
    {"Z_NO_COMPRESSION", Z_NO_COMPRESSION},
    {"Z_BEST_SPEED", Z_BEST_SPEED},
    {"Z_BEST_COMPRESSION", Z_BEST_COMPRESSION},
    {"Z_DEFAULT_COMPRESSION", Z_DEFAULT_COMPRESSION},
    {"Z_DEFAULT_STRATEGY", Z_DEFAULT_STRATEGY},
    {"Z_FILTERED", Z_FILTERED},
    {"Z_HUFFMAN_ONLY", Z_HUFFMAN_ONLY},
    {"Z_RLE", Z_RLE},
    {"Z_FIXED", Z_FIXED},
    {"Z_NO_FLUSH", Z_NO_FLUSH},
    {"Z_PARTIAL_FLUSH", Z_PARTIAL_FLUSH},
    {"Z_SYNC_FLUSH", Z_SYNC_FLUSH},
    {"Z_FULL_FLUSH", Z_FULL_FLUSH},
    {"Z_FINISH", Z_FINISH},
    {"Z_BLOCK", Z_BLOCK},
    {"MAX_WBITS", MAX_WBITS},
    {"DEFLATED", Z_DEFLATED},
    {"DEF_MEM_LEVEL", 8},
};

int ml__open_zlib(lua_State *L) {
  static const luaL_Reg functions[] = {{"compressobj", f_compressobj},
                                       {"decompressobj", f_decompressobj},
                                       {"crc32", f_crc32},
                                       {"adler32", f_adler32},
                                       {NULL, NULL}};
  static const luaL_Reg compress[] = {
      {"compress", m_compress}, {"flush", m_flush}, {"copy", m_copy}, {NULL, NULL}};
  static const luaL_Reg decompress[] = {
      {"decompress", m_decompress}, {"flush", m_deflush}, {"copy", m_decopy}, {NULL, NULL}};
  luaL_newlib(L, functions);
  ml__coder_type(L, ML_T_ZCOMPRESS, "Compress", compress, NULL);
  ml__coder_type(L, ML_T_ZDECOMPRESS, "Decompress", decompress, ml__coder_fields);
  ml__coder_errors(L, deflating.name, "zlib.error");
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
    lua_pushinteger(L, constants[i].value);
    lua_setfield(L, -2, constants[i].name);
  }
  lua_pushstring(L, zlibVersion());
  lua_setfield(L, -2, "ZLIB_RUNTIME_VERSION");
  return 1;
}
