/* A sink for deliveries: an HTTP/1.1 server on loopback that answers every request with 200, counts what came, proves
 * that each event came once, and knows how long each took.
 *
 *   sink                     prints "listening PORT" once, and ends on SIGTERM
 *
 * An event carries a mark, `"mark":"NNNNNNNNNNNNNNNN-TTTTTTTTTTTTTTTT"`: its number and the instant at which it was to
 * be published (CLOCK_MONOTONIC, ns), both in hex. A request to /wide/STRIDE/OFFSET is one of many deliveries of an
 * event: it is known by number * STRIDE + OFFSET, in a bitmap of its own.
 *
 *   GET  /control/figures    everything that was counted, as JSON
 *   POST /control/window     the latencies begin anew
 *   POST /control/reset      everything begins anew
 *
 * One thread, epoll, keep-alive. It reads Content-Length bodies and nothing else: enough for a bench whose sender is
 * known, and cheap enough not to be what is measured.
 */
#define _GNU_SOURCE
#include "histogram.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_BYTES = 8 * 1024, BUFFER_BYTES_MAX = 4 * 1024 * 1024, EVENTS_MAX = 256, MARK_BYTES = 33 };
#define NUMBERS_MAX (64ull * 1024 * 1024)

static const char ANSWER[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
static const char MARK[] = "\"mark\":\"";

struct connection {
    size_t used, room;
    char *buffer;
};

/* What came of one kind: events that are delivered once, or deliveries of events that have many. */
struct book {
    uint64_t distinct, duplicates, strange, first_ns, last_ns;
    unsigned char *seen; /* a bit for each number */
    struct histogram latencies;
};

static struct connection *connections;
static size_t files_max;
static uint64_t requests, unmarked, not_signed, opened;
static struct book once, wide;

static void drop(int file) {
    close(file);
    free(connections[file].buffer);
    connections[file].buffer = NULL;
}

static const char *header(const char *head, size_t bytes, const char *name) {
    size_t length = strlen(name);
    const char *at = head, *end = head + bytes;
    while ((at = memchr(at, '\n', (size_t)(end - at))) && (size_t)(end - at) > length + 1) {
        at++;
        if (strncasecmp(at, name, length) == 0)
            return at + length;
    }
    return NULL;
}

static int hex(const char *text, uint64_t *value) {
    *value = 0;
    for (int i = 0; i < 16; i++) {
        char c = text[i];
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
        if (digit == 16)
            return 0;
        *value = *value << 4 | digit;
    }
    return 1;
}

static void note(struct book *book, uint64_t number, uint64_t sent_ns) {
    uint64_t now = now_ns();
    if (number >= NUMBERS_MAX) {
        book->strange++;
        return;
    }
    unsigned char bit = (unsigned char)(1 << (number & 7));
    if (book->seen[number >> 3] & bit) {
        book->duplicates++;
        return;
    }
    book->seen[number >> 3] |= bit;
    book->distinct++;
    if (!book->first_ns)
        book->first_ns = now;
    book->last_ns = now;
    histogram_add(&book->latencies, now > sent_ns ? (now - sent_ns) / 1000 : 0);
}

static void count(const char *head, size_t head_bytes, const char *body, size_t body_bytes) {
    requests++;
    const char *mark = memmem(body, body_bytes, MARK, sizeof MARK - 1);
    uint64_t number, sent_ns;
    if (!mark || (size_t)(body + body_bytes - mark) < sizeof MARK - 1 + MARK_BYTES ||
        !hex(mark + sizeof MARK - 1, &number) || !hex(mark + sizeof MARK - 1 + 17, &sent_ns)) {
        unmarked++;
        return;
    }
    if (!header(head, head_bytes, "webhook-signature: v1"))
        not_signed++;
    const char *path = memchr(head, ' ', head_bytes);
    if (path && strncmp(path + 1, "/wide/", 6) == 0) {
        char *rest;
        uint64_t stride = strtoull(path + 7, &rest, 10);
        note(&wide, number * stride + strtoull(rest + 1, NULL, 10), sent_ns);
    } else {
        note(&once, number, sent_ns);
    }
}

static void begin(struct book *book) {
    memset(book->seen, 0, NUMBERS_MAX / 8);
    histogram_clear(&book->latencies);
    book->distinct = book->duplicates = book->strange = book->first_ns = book->last_ns = 0;
}

static int print_book(const char *name, const struct book *book, char *to, size_t room) {
    int n = snprintf(to, room,
                     "\"%s\":{\"distinct\":%llu,\"duplicates\":%llu,\"strange\":%llu,\"first_ns\":%llu,\"last_ns\":%llu,",
                     name, (unsigned long long)book->distinct, (unsigned long long)book->duplicates,
                     (unsigned long long)book->strange, (unsigned long long)book->first_ns,
                     (unsigned long long)book->last_ns);
    n += histogram_print(&book->latencies, to + n, room - (size_t)n);
    return n + snprintf(to + n, room - (size_t)n, "},");
}

static int control(int file, const char *path) {
    char body[4096], answer[4608];
    if (strncmp(path, "/control/reset", 14) == 0) {
        begin(&once);
        begin(&wide);
        requests = unmarked = not_signed = 0;
    } else if (strncmp(path, "/control/window", 15) == 0) {
        histogram_clear(&once.latencies);
        histogram_clear(&wide.latencies);
    }
    int n = snprintf(body, sizeof body,
                     "{\"now_ns\":%llu,\"requests\":%llu,\"unmarked\":%llu,\"not_signed\":%llu,\"connections\":%llu,",
                     (unsigned long long)now_ns(), (unsigned long long)requests, (unsigned long long)unmarked,
                     (unsigned long long)not_signed, (unsigned long long)opened);
    n += print_book("once", &once, body + n, sizeof body - (size_t)n);
    n += print_book("wide", &wide, body + n, sizeof body - (size_t)n);
    n += snprintf(body + n, sizeof body - (size_t)n, "\"cpu_s\":%.6f}", cpu_s());
    int m = snprintf(answer, sizeof answer,
                     "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
    return write(file, answer, (size_t)m) == m;
}

/* Takes whole requests out of the buffer and answers them; 0: the connection is of no use any more. */
static int take(int file, struct connection *c) {
    size_t at = 0, need = 0;
    while (at < c->used) {
        char *start = c->buffer + at, *end = memmem(start, c->used - at, "\r\n\r\n", 4);
        if (!end)
            break;
        size_t head = (size_t)(end - start) + 4;
        const char *length = header(start, head, "content-length:");
        size_t body = length ? strtoul(length, NULL, 10) : 0;
        if (body > BUFFER_BYTES_MAX)
            return 0;
        if (c->used - at < head + body) {
            need = head + body;
            break;
        }
        char *path = memchr(start, ' ', head);
        if (path && strncmp(path + 1, "/control/", 9) == 0) {
            if (!control(file, path + 1))
                return 0;
        } else {
            count(start, head, end + 4, body);
            if (write(file, ANSWER, sizeof ANSWER - 1) != (ssize_t)sizeof ANSWER - 1)
                return 0;
        }
        at += head + body;
    }
    c->used -= at;
    if (c->used)
        memmove(c->buffer, c->buffer + at, c->used);
    if (need > c->room || c->used == c->room) {
        size_t room = need > 2 * c->room ? need : 2 * c->room;
        char *more = room > 2 * (size_t)BUFFER_BYTES_MAX ? NULL : realloc(c->buffer, room);
        if (!more)
            return 0;
        c->buffer = more;
        c->room = room;
    }
    return 1;
}

static void readable(int file) {
    struct connection *c = &connections[file];
    ssize_t got = read(file, c->buffer + c->used, c->room - c->used);
    if (got < 0 && errno == EAGAIN)
        return;
    c->used += got > 0 ? (size_t)got : 0;
    if (got <= 0 || !take(file, c))
        drop(file);
}

static void take_connection(int listener, int poll) {
    int file = accept4(listener, NULL, NULL, SOCK_NONBLOCK), yes = 1;
    if (file < 0)
        return;
    char *buffer = (size_t)file < files_max ? malloc(FIRST_BYTES) : NULL;
    if (!buffer) {
        close(file);
        return;
    }
    connections[file] = (struct connection){.buffer = buffer, .room = FIRST_BYTES};
    opened++;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
    epoll_ctl(poll, EPOLL_CTL_ADD, file, &event);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    files_max = files.rlim_cur < 1u << 17 ? files.rlim_cur : 1u << 17;
    connections = calloc(files_max, sizeof *connections);
    once.seen = calloc(NUMBERS_MAX / 8, 1);
    wide.seen = calloc(NUMBERS_MAX / 8, 1);

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (!connections || !once.seen || !wide.seen || bind(listener, (struct sockaddr *)&address, size) ||
        listen(listener, 4096)) {
        perror("sink");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);

    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[EVENTS_MAX];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poll, ready, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd == listener)
                take_connection(listener, poll);
            else if (connections[ready[i].data.fd].buffer)
                readable(ready[i].data.fd);
        }
    }
}
