package cmd

// serverText is 'castar help server'. A test runs its ExecStart.
const serverText = `
A server for ten machines: one machine keeps the store, the others store and read over gRPC.

Make a user and a folder for the store, a token for each machine, and a certificate:
  useradd --system --home-dir /var/lib/castar --create-home castar
  install -d -m 0750 -o root -g castar /etc/castar
  for machine in alpha beta; do
    echo "$(openssl rand -hex 32) put delete $machine/"
  done > /etc/castar/tokens
'castar serve --help' says what a token may be allowed. Here each machine stores, and sets, moves and deletes the tags that
begin with its name; it cannot harm those of others. Make the file readable for the group castar only. Any certificate for
the name of the server will do as /etc/castar/cert.pem and key.pem.

/etc/systemd/system/castar.socket keeps the port while the service restarts, so that clients wait instead of failing:
  [Socket]
  ListenStream=8000

  [Install]
  WantedBy=sockets.target

/etc/systemd/system/castar.service:
  [Unit]
  Description=castar server
  Requires=castar.socket
  After=network.target

  [Service]
  Type=notify
  User=castar
  StateDirectory=castar
  ExecStart=/usr/local/bin/castar serve --allow-put --allow-delete --gc-every 24h -s /var/lib/castar/store --token-file /etc/castar/tokens --tls-cert /etc/castar/cert.pem --tls-key /etc/castar/key.pem --metrics 127.0.0.1:9100
  ExecReload=/bin/kill -HUP $MAINPID
  Restart=on-failure
  TimeoutStopSec=30
  LimitNOFILE=65536
  MemoryMax=1G
  UMask=0027
  NoNewPrivileges=yes
  CapabilityBoundingSet=
  ProtectSystem=strict
  ProtectHome=yes
  PrivateTmp=yes
  PrivateDevices=yes
  ProtectKernelTunables=yes
  ProtectKernelModules=yes
  ProtectControlGroups=yes
  RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
  RestrictNamespaces=yes
  LockPersonality=yes
  SystemCallArchitectures=native
  SystemCallFilter=@system-service

Start it, and look at it:
  systemctl enable --now castar.socket castar.service
  journalctl -u castar

On each machine, put its token, which is the first word of its line, into /etc/castar/token, readable for root only. From
cron:
  export CASTAR_STORE='grpc+https://server:8000?token-path=/etc/castar/token'
  castar ingest -q --tag "$(hostname)/home" /home

After a change of the tokens:
  systemctl reload castar

Each machine forgets its own ingests; the server collects the garbage:
  castar forget --tag "$(hostname)/home" --keep-daily 7 --keep-weekly 4

The server needs no attention while its disk has room. When the disk is full, it refuses to store and goes on reading, and
takes more when there is space again. Watch these:
  castar_rpc_put_serving, and health of castar.put   1 and SERVING while clients may store
  castar_rpc_calls_total{code="ResourceExhausted"}   the disk is full, or the server has too much to do
  castar verify -q --sample 5%                       each night, on the server

In a container instead. The store is in a volume, and the container's user must own it:
  FROM golang:1.26 AS build
  COPY . /src
  RUN cd /src && go build -trimpath -o /castar .

  FROM debian:stable-slim
  COPY --from=build /castar /usr/local/bin/castar
  USER 1000
  VOLUME /var/lib/castar
  EXPOSE 8000
  ENTRYPOINT ["castar", "serve", "-s", "/var/lib/castar/store", "--listen", ":8000"]
  CMD ["--allow-put", "--allow-delete", "--gc-every", "24h", "--token-file", "/etc/castar/tokens", "--tls-cert", "/etc/castar/cert.pem", "--tls-key", "/etc/castar/key.pem"]
It is named Containerfile, beside the sources:
  podman build -t castar .
  podman run -p 8000:8000 -v castar:/var/lib/castar:U -v /etc/castar:/etc/castar:ro castar`
