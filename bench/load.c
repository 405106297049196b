/* A load generator: keep-alive requests on loopback, as many as possible or at a given rate.
 *
 *   load port=N request=FILE connections=N seconds=S [rate=N] [count=N] [first=N] [kinds=N] [grace=S]
 *
 * FILE holds one whole request, head and body, with tokens of 16 bytes that are written anew each time:
 *
 *   @@@@@@@@@@@@@SEQ  the event's number, in hex, counted from `first`      @@@@@@@@@@@@@KEY  64 random bits, no two alike
 *   @@@@@@@@@@@@@NOW  when it was to be sent (CLOCK_MONOTONIC, ns), in hex  @@@@@@@@@@@@@NUM  0 to kinds - 1, in turn
 *
 * Without `rate` each connection sends the next request when it has read the answer to the last. With it, requests are
 * due at even distances whatever the answers do; one that finds no free connection waits for one, and its latency
 * counts from the instant at which it was due. It ends when everything sent is answered, or `grace` seconds later.
 * Prints one line of JSON. One thread, epoll.
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { HEAD_BYTES = 4096, EVENTS_MAX = 256, CONNECTIONS_MAX = 4096, TOKENS_MAX = 4096, TOKEN_BYTES = 16 };
enum { BROKEN_MAX = 1000 };
#define UNUSED_NS_MAX 2000000000u

struct connection {
    int file, busy, head_used, status;
    size_t body_left;
    uint64_t due_ns;  /* of the request that waits for its answer */
    uint64_t used_ns; /* when it was used last */
    char head[HEAD_BYTES];
};

static char *request;
static size_t request_bytes;
static struct {
    size_t at;
    char kind; /* S, K, N (the instant) or # */
} tokens[TOKENS_MAX];
static int token_count, events_per_request;

static struct sockaddr_in address;
static int poll_file;
static struct connection *connections[CONNECTIONS_MAX];
static int connection_count, idle[CONNECTIONS_MAX], idle_count, in_flight;
static uint64_t sent, ok, other, broken, sequence, key_number, key_seed, kind_number, kinds = 1;
static char first_other[160];
static struct histogram latencies;

static double option(int count, char **words, const char *name, double otherwise) {
    size_t length = strlen(name);
    for (int i = 1; i < count; i++)
        if (strncmp(words[i], name, length) == 0 && words[i][length] == '=')
            return atof(words[i] + length + 1);
    return otherwise;
}

static const char *text_option(int count, char **words, const char *name) {
    size_t length = strlen(name);
    for (int i = 1; i < count; i++)
        if (strncmp(words[i], name, length) == 0 && words[i][length] == '=')
            return words[i] + length + 1;
    fprintf(stderr, "load: %s= is missing\n", name);
    exit(2);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror("load");
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    request = malloc((size_t)size + 1);
    request_bytes = fread(request, 1, (size_t)size, file);
    request[request_bytes] = 0;
    fclose(file);
    for (char *at = request; (at = strstr(at, "@@@@@@@@@@@@@")); at += TOKEN_BYTES) {
        char kind = at[13] == 'S' ? 'S' : at[13] == 'K' ? 'K' : at[14] == 'O' ? 'N' : '#';
        tokens[token_count].at = (size_t)(at - request);
        tokens[token_count++].kind = kind;
        events_per_request += kind == 'S';
        if (token_count == TOKENS_MAX) {
            fprintf(stderr, "load: too many tokens\n");
            exit(2);
        }
    }
}

static void write_hex(char *to, uint64_t value) {
    for (int i = 15; i >= 0; i--, value >>= 4)
        to[i] = "0123456789abcdef"[value & 15];
}

static uint64_t mixed(uint64_t x) { /* splitmix64: no two numbers give the same */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void fill(uint64_t due_ns) {
    for (int i = 0; i < token_count; i++) {
        char *to = request + tokens[i].at;
        if (tokens[i].kind == 'S') {
            write_hex(to, sequence++);
        } else if (tokens[i].kind == 'K') {
            write_hex(to, mixed(key_seed + key_number++));
        } else if (tokens[i].kind == 'N') {
            write_hex(to, due_ns);
        } else {
            uint64_t value = kind_number++ % kinds;
            for (int digit = 15; digit >= 0; digit--, value /= 10)
                to[digit] = (char)('0' + value % 10);
        }
    }
}

static void open_connection(int number) {
    int file = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (file < 0 || connect(file, (struct sockaddr *)&address, sizeof address)) {
        perror("load");
        exit(1);
    }
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)number};
    epoll_ctl(poll_file, EPOLL_CTL_ADD, file, &event);
    connections[number]->file = file;
    connections[number]->used_ns = now_ns();
}

/* The server has closed it: for idling, or without an answer to what was asked. */
static void closed(int number) {
    struct connection *c = connections[number];
    close(c->file);
    open_connection(number);
    if (c->busy) {
        c->busy = 0;
        broken++;
        in_flight--;
        idle[idle_count++] = number;
    }
}

static void ask(int number, uint64_t due_ns) {
    struct connection *c = connections[number];
    if (now_ns() - c->used_ns > UNUSED_NS_MAX) { /* before the server closes it just when it is used again */
        close(c->file);
        open_connection(number);
    }
    fill(due_ns);
    c->busy = 1;
    c->due_ns = due_ns;
    c->head_used = c->status = 0;
    c->body_left = 0;
    sent++;
    in_flight++;
    for (size_t at = 0; at < request_bytes;) {
        ssize_t done = write(c->file, request + at, request_bytes - at);
        if (done <= 0) {
            closed(number);
            return;
        }
        at += (size_t)done;
    }
}

/* Reads what there is; 1: the answer is whole. */
static int answered(int number) {
    static char scratch[64 * 1024];
    struct connection *c = connections[number];
    ssize_t got = recv(c->file, scratch, sizeof scratch, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0 || !c->busy) {
        closed(number);
        return 0;
    }
    size_t left = (size_t)got;
    char *from = scratch;
    if (!c->status) {
        size_t part = left < (size_t)(HEAD_BYTES - 1 - c->head_used) ? left : (size_t)(HEAD_BYTES - 1 - c->head_used);
        memcpy(c->head + c->head_used, from, part);
        c->head[c->head_used + (int)part] = 0;
        char *end = strstr(c->head, "\r\n\r\n"), *length = strcasestr(c->head, "\ncontent-length:");
        if (!end) {
            c->head_used += (int)part;
            if (c->head_used >= HEAD_BYTES - 1)
                closed(number);
            return 0;
        }
        size_t head = (size_t)(end + 4 - c->head) - (size_t)c->head_used;
        c->status = atoi(c->head + 9);
        c->body_left = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
        left -= head;
        if (c->status / 100 != 2 && !first_other[0])
            for (size_t i = 0, j = 0; i < strlen(c->head) && j < sizeof first_other - 1; i++)
                if (c->head[i] >= ' ' && c->head[i] != '"' && c->head[i] != '\\')
                    first_other[j++] = c->head[i];
    }
    c->body_left -= left < c->body_left ? left : c->body_left;
    if (c->body_left)
        return 0;
    if (c->status / 100 == 2)
        ok++;
    else
        other++;
    c->used_ns = now_ns();
    histogram_add(&latencies, (c->used_ns - c->due_ns) / 1000);
    c->busy = 0;
    in_flight--;
    return 1;
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1);
    read_request(text_option(count, words, "request"));
    double rate = option(count, words, "rate", 0), seconds = option(count, words, "seconds", 1);
    uint64_t count_max = (uint64_t)option(count, words, "count", 0);
    uint64_t first = sequence = (uint64_t)option(count, words, "first", 0);
    kinds = (uint64_t)option(count, words, "kinds", 1);
    FILE *random = fopen("/dev/urandom", "rb");
    if (!random || fread(&key_seed, sizeof key_seed, 1, random) != 1)
        return 1;
    fclose(random);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    poll_file = epoll_create1(0);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)option(count, words, "port", 0));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection_count = (int)option(count, words, "connections", 64);
    for (int i = 0; i < connection_count && i < CONNECTIONS_MAX; i++) {
        connections[i] = calloc(1, sizeof *connections[i]);
        open_connection(i);
        idle[idle_count++] = i;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = CONNECTIONS_MAX}, ready[EVENTS_MAX];
    epoll_ctl(poll_file, EPOLL_CTL_ADD, timer, &event);

    uint64_t begun = now_ns(), end = begun + (uint64_t)(seconds * 1e9);
    uint64_t grace_end = end + (uint64_t)(option(count, words, "grace", 10) * 1e9), late_max = 0, answered_ns = begun;
    double period = rate > 0 ? 1e9 / rate : 0;
    for (;;) {
        uint64_t now = now_ns(), due = begun + (uint64_t)(period * (double)sent);
        /* What is due before the end is owed, however late. */
        while (idle_count && (!count_max || sent < count_max) && (rate > 0 ? due <= now && due < end : now < end)) {
            if (rate > 0 && now - due > late_max)
                late_max = now - due;
            ask(idle[--idle_count], rate > 0 ? due : now);
            now = now_ns();
            due = begun + (uint64_t)(period * (double)sent);
        }
        int over = (count_max && sent >= count_max) || (rate > 0 ? due >= end : now >= end);
        if ((over && !in_flight) || now > grace_end || broken > BROKEN_MAX)
            break;
        if (rate > 0 && !over && idle_count) {
            struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due / 1000000000u), .tv_nsec = (long)(due % 1000000000u)}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
        }
        int n = epoll_wait(poll_file, ready, EVENTS_MAX, 100);
        for (int i = 0; i < n; i++) {
            uint64_t expired;
            if (ready[i].data.u32 == CONNECTIONS_MAX) {
                if (read(timer, &expired, sizeof expired) < 0 && errno != EAGAIN)
                    return 1;
            } else if (answered((int)ready[i].data.u32)) {
                answered_ns = now_ns();
                idle[idle_count++] = (int)ready[i].data.u32;
            }
        }
    }
    char timed[512];
    histogram_print(&latencies, timed, sizeof timed);
    printf("{\"requests\":%llu,\"events\":%llu,\"ok\":%llu,\"other\":%llu,\"unanswered\":%llu,\"begun_ns\":%llu,"
           "\"seconds\":%.6f,\"late_max_us\":%llu,%s,\"cpu_s\":%.6f,\"first_other\":\"%s\"}\n",
           (unsigned long long)sent, (unsigned long long)(sequence - first),
           (unsigned long long)ok, (unsigned long long)other, (unsigned long long)(in_flight + (int)broken),
           (unsigned long long)begun, (double)(answered_ns - begun) / 1e9, (unsigned long long)late_max / 1000, timed,
           cpu_s(), first_other);
    return 0;
}
