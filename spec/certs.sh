#!/bin/sh
# Makes the certificates that the specs of TLS need in the folder $1:
#   root.pem              a CA             inter.pem            one below it
#   good.pem/.key         localhost, 127.0.0.1, ::1, *.wild.test; with chain
#   other.pem/.key        other.test alone  expired, revoked, selfsigned: as named
#   client.pem/.key       for clients       encrypted.key       good.key, password "secret"
#   crl.pem               lists of root and inter; revoked.pem is on the latter's
#   trust-crl.pem         root and crl
set -eu
dir=$1
mkdir -p "$dir"
cd "$dir"
cat > ca.cnf <<'CNF'
[ca]
default_ca = own
[own]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 30
crl_extensions = crl_ext
[crl_ext]
authorityKeyIdentifier = keyid:always
[req]
distinguished_name = dn
[dn]
[ca_ext]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
[leaf]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
basicConstraints = CA:false
keyUsage = critical, digitalSignature
[self]
subjectKeyIdentifier = hash
basicConstraints = critical, CA:true
CNF
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
# issue NAME CN CA SERIAL DAYS SECTION [SAN]
issue() {
  key "$1"
  { sed -n "/^\[$6\]/,/^\[/p" ca.cnf | grep -v '^\['; [ -z "${7:-}" ] || echo "subjectAltName = $7"; } > "$1.ext"
  openssl req -new -config ca.cnf -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA "$3.pem" -CAkey "$3.key" -set_serial "$4" -days "$5" -sha256 \
    -extfile "$1.ext" -out "$1.leaf" 2>/dev/null
  mv "$1.leaf" "$1.pem"
  rm -f "$1.csr" "$1.ext"
}
key root
openssl req -x509 -new -config ca.cnf -extensions ca_ext -key root.key -subj "/O=Spec/CN=Root" -days 60 -out root.pem
issue inter "/O=Spec/CN=Intermediate" root 2 60 ca_ext
issue good "/O=Spec/CN=localhost" inter 10 60 leaf "DNS:localhost,DNS:*.wild.test,IP:127.0.0.1,IP:::1"
issue other "/CN=other.test" inter 11 60 leaf "DNS:other.test"
issue expired "/CN=localhost" inter 12 -1 leaf "DNS:localhost"
issue revoked "/CN=localhost" inter 13 60 leaf "DNS:localhost"
issue client "/O=Spec/CN=client" inter 14 60 leaf "email:client@spec.test"
key selfsigned
openssl req -x509 -new -config ca.cnf -extensions self -key selfsigned.key -subj "/CN=localhost" -days 60 \
  -addext "subjectAltName=DNS:localhost" -out selfsigned.pem
cp inter.pem inter-alone.pem
for name in good other expired revoked client; do cat inter.pem >> $name.pem; done
openssl ec -in good.key -aes128 -passout pass:secret -out encrypted.key 2>/dev/null
: > index.txt
echo 01 > crlnumber
openssl ca -config ca.cnf -gencrl -cert root.pem -keyfile root.key -out root.crl 2>/dev/null
openssl ca -config ca.cnf -revoke revoked.pem -cert inter.pem -keyfile inter.key 2>/dev/null
openssl ca -config ca.cnf -gencrl -cert inter.pem -keyfile inter.key -out inter.crl 2>/dev/null
cat root.crl inter.crl > crl.pem
cat root.pem crl.pem > trust-crl.pem
cat good.key good.pem > both.pem
