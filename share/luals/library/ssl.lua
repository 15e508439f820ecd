---@meta ssl

-- Module ssl. Written by tools/definitions.lua.

---@class ssl.SSLError: asyncio.OSError
---@overload fun(message?: any, fields?: table): ssl.SSLError
local SSLError = {}

---@class ssl.CertificateError: ssl.SSLError
---@overload fun(message?: any, fields?: table): ssl.CertificateError
local CertificateError = {}

---@class ssl.SSLEOFError: ssl.SSLError
---@overload fun(message?: any, fields?: table): ssl.SSLEOFError
local SSLEOFError = {}

---@class ssl.SSLZeroReturnError: ssl.SSLError
---@overload fun(message?: any, fields?: table): ssl.SSLZeroReturnError
local SSLZeroReturnError = {}

---@class ssl.TrustOptions
---@field cafile? string
---@field capath? string
---@field cadata? string PEM or DER

--- `ssl.PROTOCOL_TLS_CLIENT` or `ssl.PROTOCOL_TLS_SERVER`; trusts nobody yet.
---@class ssl.SSLContext
---@field verify_mode integer CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED
---@field check_hostname boolean
---@field minimum_version integer of TLSVersion
---@field maximum_version integer of TLSVersion
---@field verify_flags integer
---@field options integer
---@field sni_callback (fun(object: ssl.SSLObject, name: string?, context: ssl.SSLContext): integer?)?
---@field num_tickets integer
---@field hostname_checks_common_name boolean
---@field protocol integer
---@field security_level integer
---@overload fun(protocol: integer): ssl.SSLContext
local SSLContext = {}

--- PEM; `password`: a string or a function that gives one. Never asks on a terminal.
---@param certfile string
---@param keyfile? string
---@param password? string|fun(): string
function SSLContext:load_cert_chain(certfile, keyfile, password) end

--- `cafile`, `capath`, `cadata` (PEM or DER): certificates to trust, and CRLs. A string is a `cafile`.
---@param opts string|ssl.TrustOptions
function SSLContext:load_verify_locations(opts) end

--- What the system trusts.
---@param purpose? any
function SSLContext:load_default_certs(purpose) end

--- What the system trusts.
function SSLContext:set_default_verify_paths() end

--- The certificates that are trusted, as tables, or in DER.
---@param binary? boolean
---@return (table|string)[]
function SSLContext:get_ca_certs(binary) end

--- How many certificates and CRLs there are.
---@return table<string, integer>
function SSLContext:cert_store_stats() end

--- How often sessions were taken up.
---@return table<string, integer>
function SSLContext:session_stats() end

--- Up to TLS 1.2; `context:get_ciphers()`, `context:set_ecdh_curve(name)`.
---@param list string
function SSLContext:set_ciphers(list) end

--- The ciphers, the best first.
---@return table[]
function SSLContext:get_ciphers() end

--- The curve of key exchanges.
---@param name string
function SSLContext:set_ecdh_curve(name) end

--- The best first.
---@param array string[]
function SSLContext:set_alpn_protocols(array) end

--- As the field `sni_callback`: `f(object, name, context)` may set `object.context`; a number it gives is an alert
--- that refuses.
---@param f? fun(object: ssl.SSLObject, name: string?, context: ssl.SSLContext): integer?
function SSLContext:set_servername_callback(f) end

---@class ssl.SSLObject
---@field context ssl.SSLContext
---@field server_side boolean
---@field server_hostname string?
---@field session ssl.SSLSession? of a client, for the option `session` of a later connection
---@field session_reused boolean
local SSLObject = {}

--- A table `subject`, `issuer` (arrays of arrays of `{name, value}`), `subjectAltName` (array of `{kind, value}`),
--- `notBefore`, `notAfter`, `serialNumber`, `version`; or DER. Empty if it was not verified, nil if there is none.
---@param binary? boolean
---@return any
function SSLObject:getpeercert(binary) end

--- Arrays of DER.
---@return string[]
function SSLObject:get_verified_chain() end

--- Arrays of DER.
---@return string[]
function SSLObject:get_unverified_chain() end

--- "TLSv1.3".
---@return string?
function SSLObject:version() end

--- {name, protocol, bits}
---@return table?
function SSLObject:cipher() end

--- The ciphers that both sides have; of a server.
---@return table[]?
function SSLObject:shared_ciphers() end

--- The protocol that ALPN has chosen.
---@return string?
function SSLObject:selected_alpn_protocol() end

--- nil: there is none.
---@return string?
function SSLObject:compression() end

--- How many decrypted bytes wait to be read.
---@return integer
function SSLObject:pending() end

--- The bytes of "tls-unique".
---@param type? string
---@return string?
function SSLObject:get_channel_binding(type) end

---@class ssl.SSLSession
---@field id string
---@field time integer
---@field timeout integer
---@field has_ticket boolean
---@field ticket_lifetime_hint integer
local SSLSession = {}

---@class ssl.CHANNEL_BINDING_TYPES

---@class ssl.Purpose
---@field CLIENT_AUTH string
---@field SERVER_AUTH string

---@class ssl.TLSVersion
---@field MAXIMUM_SUPPORTED integer
---@field MINIMUM_SUPPORTED integer
---@field TLSv1 integer
---@field TLSv1_1 integer
---@field TLSv1_2 integer
---@field TLSv1_3 integer

---@class ssl
---@field ALERT_DESCRIPTION_ACCESS_DENIED integer
---@field ALERT_DESCRIPTION_HANDSHAKE_FAILURE integer
---@field ALERT_DESCRIPTION_INTERNAL_ERROR integer
---@field ALERT_DESCRIPTION_UNRECOGNIZED_NAME integer
---@field CERT_NONE integer
---@field CERT_OPTIONAL integer
---@field CERT_REQUIRED integer
---@field CHANNEL_BINDING_TYPES ssl.CHANNEL_BINDING_TYPES
---@field HAS_ALPN boolean
---@field HAS_ECDH boolean
---@field HAS_NPN boolean
---@field HAS_SNI boolean
---@field HAS_SSLv2 boolean
---@field HAS_SSLv3 boolean
---@field HAS_TLSv1_2 boolean
---@field HAS_TLSv1_3 boolean
---@field OPENSSL_VERSION string
---@field OPENSSL_VERSION_NUMBER integer
---@field OP_ALL integer
---@field OP_CIPHER_SERVER_PREFERENCE integer
---@field OP_IGNORE_UNEXPECTED_EOF integer
---@field OP_LEGACY_SERVER_CONNECT integer
---@field OP_NO_COMPRESSION integer
---@field OP_NO_RENEGOTIATION integer
---@field OP_NO_TICKET integer
---@field OP_NO_TLSv1 integer
---@field OP_NO_TLSv1_1 integer
---@field OP_NO_TLSv1_2 integer
---@field OP_NO_TLSv1_3 integer
---@field OP_SINGLE_DH_USE integer
---@field OP_SINGLE_ECDH_USE integer
---@field PROTOCOL_TLS_CLIENT integer
---@field PROTOCOL_TLS_SERVER integer
---@field Purpose ssl.Purpose
---@field SSLCertVerificationError ssl.CertificateError
---@field TLSVersion ssl.TLSVersion
---@field VERIFY_CRL_CHECK_CHAIN integer
---@field VERIFY_CRL_CHECK_LEAF integer
---@field VERIFY_DEFAULT integer
---@field VERIFY_X509_PARTIAL_CHAIN integer
---@field VERIFY_X509_STRICT integer
---@field VERIFY_X509_TRUSTED_FIRST integer
local ssl = {}
ssl.CertificateError = CertificateError
ssl.SSLContext = SSLContext
ssl.SSLEOFError = SSLEOFError
ssl.SSLError = SSLError
ssl.SSLObject = SSLObject
ssl.SSLSession = SSLSession
ssl.SSLZeroReturnError = SSLZeroReturnError

--- An SSLContext. `ssl.Purpose.SERVER_AUTH` (the default): a client's, which verifies certificates and host names
--- against what the system trusts, or against `opts`: `cafile`, `capath`, `cadata`. `ssl.Purpose.CLIENT_AUTH`: a
--- server's.
---@param purpose? any
---@param opts? ssl.TrustOptions
---@return ssl.SSLContext
function ssl.create_default_context(purpose, opts) end

--- The certificate in the form of text.
---@param der string
---@return string
function ssl.DER_cert_to_PEM_cert(der) end

return ssl
