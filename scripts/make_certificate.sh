#!/bin/sh
# Makes a key and a certificate for localhost that vouches for itself: FOLDER/key.pem and FOLDER/cert.pem,
# good for 30 days. Clients trust it with {cafile = "FOLDER/cert.pem"}. For trying things out, not for use.
#   scripts/make_certificate.sh FOLDER
set -eu
folder=${1:?usage: make_certificate.sh FOLDER}
mkdir -p "$folder"
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
  -addext 'subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1' \
  -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
