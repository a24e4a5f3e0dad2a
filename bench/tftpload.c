// tftpload: any number of TFTP clients at once in one process, for measuring servers (RRQ only; RFC 1350, 2347-2349,
// 7440). Every byte that arrives is compared with the file on disk (unless -X). Prints one line of JSON.
//
//   gcc -O2 -o tftpload tftpload.c
//   ./tftpload -p 69 -d /srv/tftpboot -f vmlinuz -n 1000 -c 1000 -b 1468
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static uint64_t rs = 88172645463325252ull;

static uint64_t rnd(void) {
    rs ^= rs << 13;
    rs ^= rs >> 7;
    rs ^= rs << 17;
    return rs;
}

typedef struct ref {
    uint8_t *p;
    size_t len;
    char name[128];
} ref;

typedef struct cl {
    int fd, connected, blk, win, inwin, gap, retry, gotany;
    uint64_t exp, off, t0, deadline;
    ref *r;
    struct cl *prev, *next;
    uint8_t last[256];
    int lastlen;
} cl;

static cl head; // timer list sentinel (all timeouts equal -> FIFO)

static void tl_del(cl *c) {
    if (c->prev) {
        c->prev->next = c->next;
        c->next->prev = c->prev;
        c->prev = c->next = 0;
    }
}

static void tl_add(cl *c) {
    c->prev = head.prev;
    c->next = &head;
    head.prev->next = c;
    head.prev = c;
}
static struct sockaddr_in srv;
static int ep, blksize = 1468, winsz = 1, use_tsize = 1, maxretry = 5, useopts = 1, compare = 1;
static uint64_t tmo = 1000000;
static long done_, failed, retx, drops, pkts, dups, gaps, bytes, active, mism, shortf, errs, acks;
static uint32_t *lat;
static char err1[200];
static unsigned lossN;
static uint64_t Tgo, t99;
static long N99;

static void touch(cl *c, uint64_t t) {
    tl_del(c);
    c->deadline = t + tmo;
    tl_add(c);
}

static void snd(cl *c) {
    int r;
    if (c->connected)
        r = send(c->fd, c->last, c->lastlen, MSG_DONTWAIT);
    else
        r = sendto(c->fd, c->last, c->lastlen, MSG_DONTWAIT, (void *)&srv, sizeof srv);
    (void)r;
}

static void fin(cl *c, int ok, const char *why) {
    tl_del(c);
    close(c->fd);
    c->fd = -1;
    active--;
    if (ok) {
        uint64_t q = now_us();
        lat[done_] = (uint32_t)(q - c->t0);
        done_++;
        if (done_ == N99) t99 = q - Tgo;
    } else {
        failed++;
        if (!err1[0]) snprintf(err1, sizeof err1, "%s: %s", c->r->name, why);
    }
}

static int optput(uint8_t *b, int n, const char *k, long v) {
    n += sprintf((char *)b + n, "%s", k) + 1;
    n += sprintf((char *)b + n, "%ld", v) + 1;
    return n;
}

static void startc(cl *c, ref *r) {
    memset(c, 0, sizeof *c);
    c->r = r;
    c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        perror("socket");
        exit(2);
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
    uint8_t *b = c->last;
    int n = 0;
    b[n++] = 0;
    b[n++] = 1;
    n += sprintf((char *)b + n, "%s", r->name) + 1;
    n += sprintf((char *)b + n, "octet") + 1;
    if (useopts) {
        if (blksize != 512) n = optput(b, n, "blksize", blksize);
        if (use_tsize) n = optput(b, n, "tsize", 0);
        if (winsz > 1) n = optput(b, n, "windowsize", winsz);
    }
    c->lastlen = n;
    c->blk = 512;
    c->win = 1;
    c->exp = 1;
    c->t0 = now_us();
    c->deadline = c->t0 + tmo;
    tl_add(c);
    active++;
    snd(c);
}

static void ack(cl *c, uint16_t b) {
    c->last[0] = 0;
    c->last[1] = 4;
    c->last[2] = b >> 8;
    c->last[3] = b;
    c->lastlen = 4;
    acks++;
    snd(c);
}

static int handle(cl *c, uint8_t *m, int n, struct sockaddr_in *from, uint64_t t) { // returns 1 if finished
    if (n < 4) return 0;
    int op = m[0] << 8 | m[1];
    if (lossN && op == 3 && rnd() % lossN == 0) {
        drops++;
        return 0;
    }
    if (!c->connected) {
        if (connect(c->fd, (void *)from, sizeof *from) == 0) c->connected = 1;
    }
    if (op == 5) {
        errs++;
        fin(c, 0, (char *)m + 4);
        return 1;
    }
    if (op == 6) {
        if (c->exp != 1 || c->off) {
            return 0;
        }
        char *p = (char *)m + 2, *end = (char *)m + n;
        m[n] = 0;
        while (p < end) {
            char *k = p;
            p += strlen(p) + 1;
            if (p >= end) break;
            char *v = p;
            p += strlen(p) + 1;
            if (!strcasecmp(k, "blksize"))
                c->blk = atoi(v);
            else if (!strcasecmp(k, "windowsize"))
                c->win = atoi(v);
            else if (!strcasecmp(k, "tsize") && compare && (size_t)atol(v) != c->r->len) {
                fin(c, 0, "bad tsize");
                return 1;
            }
        }
        c->gotany = 1;
        c->retry = 0;
        touch(c, t);
        ack(c, 0);
        return 0;
    }
    if (op != 3) return 0;
    pkts++;
    uint16_t b = m[2] << 8 | m[3];
    int dl = n - 4;
    if (b == (uint16_t)c->exp) {
        if (compare && (c->off + dl > c->r->len || memcmp(c->r->p + c->off, m + 4, dl))) {
            mism++;
            fin(c, 0, "content mismatch");
            return 1;
        }
        c->off += dl;
        bytes += dl;
        c->exp++;
        c->inwin++;
        c->gap = 0;
        c->retry = 0;
        c->gotany = 1;
        if (dl < c->blk) {
            ack(c, b);
            if (compare && c->off != c->r->len) {
                shortf++;
                fin(c, 0, "short file");
            } else
                fin(c, 1, 0);
            return 1;
        }
        if (c->inwin >= c->win) {
            c->inwin = 0;
            ack(c, b);
            touch(c, t);
        }
    } else {
        uint16_t d = (uint16_t)c->exp - b;
        if (c->win == 1) {
            dups++;
            if (d < 32768) ack(c, b);
        } // duplicate: re-ACK
        else {
            if (d < 32768)
                dups++;
            else
                gaps++;
            if (!c->gap) {
                c->gap = 1;
                c->inwin = 0;
                ack(c, (uint16_t)(c->exp - 1));
                touch(c, t);
            }
        }
    }
    return 0;
}

static int cmp32(const void *a, const void *b) {
    uint32_t x = *(uint32_t *)a, y = *(uint32_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    const char *host = "127.0.0.1", *fmt = "f", *root = ".";
    int port = 69, o;
    long N = 1, K = 1, M = 1;
    double T = 60, rate = 0;
    while ((o = getopt(argc, argv, "h:p:f:d:n:c:M:b:w:t:r:R:L:T:S:uOX")) != -1)
        switch (o) {
        case 'h':
            host = optarg;
            break;
        case 'p':
            port = atoi(optarg);
            break;
        case 'f':
            fmt = optarg;
            break;
        case 'd':
            root = optarg;
            break;
        case 'n':
            N = atol(optarg);
            break;
        case 'c':
            K = atol(optarg);
            break;
        case 'M':
            M = atol(optarg);
            break;
        case 'b':
            blksize = atoi(optarg);
            break;
        case 'w':
            winsz = atoi(optarg);
            break;
        case 't':
            tmo = atol(optarg) * 1000;
            break;
        case 'r':
            maxretry = atoi(optarg);
            break;
        case 'R':
            rate = atof(optarg);
            break;
        case 'L':
            lossN = atoi(optarg);
            break;
        case 'T':
            T = atof(optarg);
            break;
        case 'S':
            rs ^= strtoull(optarg, 0, 0) * 0x9E3779B97F4A7C15ull;
            break;
        case 'u':
            use_tsize = 0;
            break;
        case 'O':
            useopts = 0;
            break;
        case 'X':
            compare = 0;
            break;
        default:
            fprintf(stderr, "usage: -h host -p port -f name|fmt%%d -M nfiles -d refroot -n transfers -c concurrency -b "
                            "blksize -w win -t tmo_ms -r retries -R arrivals/s -L lossN -T maxsec -S seed -u(no tsize) "
                            "-O(no options) -X(don't compare: names that no file has)\n");
            return 2;
        }
    struct rlimit rl = {20000, 20000};
    setrlimit(RLIMIT_NOFILE, &rl);
    memset(&srv, 0, sizeof srv);
    srv.sin_family = AF_INET;
    srv.sin_port = htons(port);
    inet_pton(AF_INET, host, &srv.sin_addr);
    ref *refs = calloc(M, sizeof(ref));
    for (long i = 0; i < M; i++) {
        char p[512];
        snprintf(refs[i].name, 128, fmt, (int)i);
        if (!compare) continue;
        snprintf(p, 512, "%s/%s", root, refs[i].name);
        int f = open(p, O_RDONLY);
        struct stat st;
        if (f < 0 || fstat(f, &st)) {
            perror(p);
            return 2;
        }
        refs[i].len = st.st_size;
        refs[i].p = mmap(0, st.st_size ? st.st_size : 1, PROT_READ, MAP_SHARED | MAP_POPULATE, f, 0);
        close(f);
    }
    lat = calloc(N + 1, 4);
    if (K > N) K = N;
    cl *cs = calloc(K, sizeof(cl));
    cl **fr = calloc(K, sizeof(cl *));
    long nfr = 0;
    for (long i = K - 1; i >= 0; i--) {
        cs[i].fd = -1;
        fr[nfr++] = &cs[i];
    }
    head.prev = head.next = &head;
    ep = epoll_create1(0);
    struct epoll_event ev[256];
    static uint8_t buf[70000];
    N99 = N * 99 / 100;
    if (N99 < 1) N99 = 1;
    uint64_t T0 = Tgo = now_us(), Tend = T0 + (uint64_t)(T * 1e6);
    long started = 0;
    uint64_t t = T0;
    while (done_ + failed < N) {
        t = now_us();
        if (t > Tend) break;
        int burst = 0;
        while (started < N && nfr && (rate <= 0 || (double)(t - T0) * rate / 1e6 >= started)) {
            startc(fr[--nfr], &refs[started % M]);
            started++;
            if (++burst >= 64) break;
        }
        int ms = 100;
        if (head.next != &head) {
            int64_t d = (int64_t)(head.next->deadline - t);
            ms = d <= 0 ? 0 : (int)(d / 1000) + 1;
        }
        if (ms > 100) ms = 100;
        if (started < N && nfr) {
            if (rate <= 0)
                ms = 0;
            else {
                int64_t w = (int64_t)(started * 1e6 / rate) - (int64_t)(t - T0);
                int wm = w <= 0 ? 0 : (int)(w / 1000) + 1;
                if (wm < ms) ms = wm;
            }
        }
        int n = epoll_wait(ep, ev, 256, ms);
        t = now_us();
        for (int i = 0; i < n; i++) {
            cl *c = ev[i].data.ptr;
            if (c->fd < 0) continue;
            int lim = c->win > 1 ? c->win + 1 : 1;
            for (int j = 0; j < lim; j++) {
                struct sockaddr_in from;
                socklen_t fl = sizeof from;
                int r;
                if (c->connected)
                    r = recv(c->fd, buf, sizeof buf - 1, MSG_DONTWAIT);
                else
                    r = recvfrom(c->fd, buf, sizeof buf - 1, MSG_DONTWAIT, (void *)&from, &fl);
                if (r < 0) break; /* EAGAIN or ECONNREFUSED: wait for the timer */
                if (handle(c, buf, r, &from, t)) {
                    fr[nfr++] = c;
                    break;
                }
                if (c->win > 1 && c->inwin == 0 && !c->gap) break; /* just acked a full window */
            }
        }
        while (head.next != &head && head.next->deadline <= t) {
            cl *c = head.next;
            if (++c->retry > maxretry) {
                fin(c, 0, c->gotany ? "timeout mid-transfer" : "timeout, no answer");
                fr[nfr++] = c;
                continue;
            }
            retx++;
            c->gap = 0;
            c->inwin = 0;
            if (c->gotany && c->win > 1 && c->exp > 1) {
                c->last[0] = 0;
                c->last[1] = 4;
                uint16_t b = (uint16_t)(c->exp - 1);
                c->last[2] = b >> 8;
                c->last[3] = b;
                c->lastlen = 4;
            }
            snd(c);
            touch(c, t);
        }
    }
    double wall = (now_us() - T0) / 1e6;
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    double cpu = ru.ru_utime.tv_sec + ru.ru_stime.tv_sec + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
    qsort(lat, done_, 4, cmp32);
#define P(q) (done_ ? lat[(long)((done_ - 1) * (q))] / 1000.0 : -1.0)
    for (char *q = err1; *q; q++)
        if (*q == '"' || *q == '\\' || (unsigned char)*q < 32) *q = '\'';
    printf("{\"completed\":%ld,\"failed\":%ld,\"stalled\":%ld,\"retx\":%ld,\"drops\":%ld,\"dups\":%ld,\"gaps\":%ld,"
           "\"mismatch\":%ld,\"pkts\":%ld,\"acks\":%ld,\"bytes\":%ld,\"wall\":%.4f,\"MBps\":%.2f,\"fps\":%.1f,\"pps\":%"
           ".0f,\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f,\"cli_cpu\":%.3f,\"fps99\":%.1f,\"err\":\"%s\"}\n",
           done_, failed, N - done_ - failed, retx, drops, dups, gaps, mism, pkts, acks, bytes, wall,
           bytes / wall / 1e6, done_ / wall, pkts / wall, P(.5), P(.95), P(.99), P(1.0), cpu,
           t99 ? N99 * 1e6 / t99 : -1.0, err1);
    return done_ == N ? 0 : 1;
}
