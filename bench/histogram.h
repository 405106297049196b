/* Latencies in microseconds, counted in buckets that are 1.6 % wide: constant memory, nothing is sampled. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { SUB_BITS = 6, SUBS = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS) * SUBS + SUBS };

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t total, max_us;
};

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void histogram_add(struct histogram *h, uint64_t us) {
    unsigned shift = us < SUBS ? 0 : (unsigned)(63 - __builtin_clzll(us)) - SUB_BITS;
    h->counts[us < SUBS ? us : (uint64_t)shift * SUBS + (us >> shift)]++;
    h->total++;
    if (us > h->max_us)
        h->max_us = us;
}

/* The middle of the bucket in which this share (0 to 1) of all ends; 0 where nothing was counted. */
static inline double histogram_at(const struct histogram *h, double share) {
    uint64_t rank = (uint64_t)(share * (double)h->total), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > rank || (seen && seen == h->total)) {
            unsigned shift = i < 2 * SUBS ? 0 : i / SUBS - 1;
            double low = (double)((uint64_t)(i - shift * SUBS) << shift);
            double middle = low + (double)((1ull << shift) - 1) / 2;
            return middle < (double)h->max_us ? middle : (double)h->max_us;
        }
    }
    return 0;
}

static inline void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

/* As members of a JSON object. */
static inline int histogram_print(const struct histogram *h, char *to, size_t room) {
    return snprintf(to, room, "\"timed\":%llu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%llu",
                    (unsigned long long)h->total, histogram_at(h, .5), histogram_at(h, .9), histogram_at(h, .99),
                    (unsigned long long)h->max_us);
}

/* User and system time of this process so far, in seconds. */
static inline double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}
#endif
