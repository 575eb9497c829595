// Runs every kernel at every level this CPU has, and compares what comes out with the scalar level; prints
// one line.
//
// Each level gets the same cases and writes a transcript of all results, gaps between them included.
// Transcripts must be equal to the bit; float32 scores may differ by rounding and are compared apart. Every
// buffer ends where a page without access begins, so a kernel that goes too far dies here, and bytes before
// it are looked at too.
//
// The line ends with a digest of the scalar transcript, which is the same on every platform. An argument
// names the level that this CPU must have as its best. The exit status is 0 if all went well.

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/table.hpp"

namespace {

using inlay::Kernels;
using std::size_t;

const char* const kLevelNames[] = {"scalar", "neon", "neon_dot", "avx2", "avx512"};
const size_t kSizes[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,   9,   15,  16,  17,
                         31, 32, 33, 47, 48, 63, 64, 65, 100, 127, 128, 129, 384};

int failures = 0;

void fail(const std::string& what) {
    if (++failures <= 20) std::printf("%s\n", what.c_str());
}

// n values that end where a page without access begins; what lies before them must stay as it is.
template <class T>
class Guarded {
  public:
    explicit Guarded(size_t n) : size_(n) {
        const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        usable_ = (n * sizeof(T) + 64 + page - 1) / page * page;
        mapped_ = usable_ + page;
        void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        if (memory == MAP_FAILED || mprotect(static_cast<char*>(memory) + usable_, page, PROT_NONE) != 0) {
            std::perror("no guarded memory");
            std::exit(2);
        }
        start_ = static_cast<unsigned char*>(memory);
        std::memset(start_, kFill, usable_);
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() {
        const unsigned char* before = reinterpret_cast<const unsigned char*>(data());
        for (const unsigned char* byte = start_; byte < before; ++byte)
            if (*byte != kFill) {
                fail("a byte before a buffer was written");
                break;
            }
        munmap(start_, mapped_);
    }
    T* data() { return reinterpret_cast<T*>(start_ + usable_) - size_; }
    T& operator[](size_t i) { return data()[i]; }
    size_t size() const { return size_; }

  private:
    static constexpr unsigned char kFill = 0xA5;
    size_t size_, usable_, mapped_;
    unsigned char* start_;
};

// The same numbers on every platform: no distribution of the standard library is.
class Random {
  public:
    explicit Random(std::uint32_t seed) : engine_(seed) {}
    std::uint32_t bits() { return static_cast<std::uint32_t>(engine_()); }
    float unit() {
        return static_cast<float>(static_cast<std::int32_t>(bits() >> 8) - (1 << 23)) / (1 << 23);
    }
    template <class T>
    void fill(Guarded<T>& out) {
        for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(bits());
    }
    void fill(Guarded<float>& out, float scale = 1.0f) {
        for (size_t i = 0; i < out.size(); ++i) out[i] = unit() * scale;
    }

  private:
    std::mt19937 engine_;
};

struct Transcript {
    std::vector<unsigned char> bytes;
    std::vector<std::pair<size_t, std::string>> cases;  // where each begins

    void begin(const char* kernel, size_t a, size_t b = 0, size_t c = 0) {
        char name[120];
        std::snprintf(name, sizeof name, "%s, case %zu %zu %zu", kernel, a, b, c);
        cases.emplace_back(bytes.size(), name);
    }
    template <class T>
    void add(const T* values, size_t n) {
        const unsigned char* first = reinterpret_cast<const unsigned char*>(values);
        bytes.insert(bytes.end(), first, first + n * sizeof(T));
    }
    template <class T>
    void add(Guarded<T>& values) {
        add(values.data(), values.size());
    }
    std::uint64_t digest() const {
        std::uint64_t hash = 14695981039346656037u;  // FNV-1a
        for (const unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211u;
        return hash;
    }
};

void compare(const Transcript& scalar, const Transcript& other, const char* level) {
    for (size_t i = 0; i < scalar.cases.size(); ++i) {
        const size_t begin = scalar.cases[i].first;
        const size_t end = i + 1 < scalar.cases.size() ? scalar.cases[i + 1].first : scalar.bytes.size();
        if (i < other.cases.size() && other.cases[i] == scalar.cases[i] && end <= other.bytes.size() &&
            std::memcmp(scalar.bytes.data() + begin, other.bytes.data() + begin, end - begin) == 0)
            continue;
        fail(std::string(level) + " differs from scalar in " + scalar.cases[i].second);
    }
    if (scalar.bytes.size() != other.bytes.size())
        fail(std::string(level) + " gave more or fewer results than scalar");
}

// ---- integer products
// ------------------------------------------------------------------------------------------

struct Fill {
    int code, value;  // kAny: random
};
constexpr int kAny = 1000;
// The most that two, four or eight products can add up to, on both sides; -128 is no query's, but is exact as
// well.
const Fill kFills[] = {{kAny, kAny}, {255, 127},   {255, -127}, {255, -128},
                       {0, -128},    {kAny, -128}, {127, 127},  {128, -1}};

void dots_case(inlay::codes::Dots kernel, size_t per_line, size_t together, size_t lines, size_t n_blocks,
               Fill fill, Random& random, Transcript& log) {
    Guarded<std::uint8_t> blocks(n_blocks * lines * inlay::codes::kLine);
    Guarded<std::int8_t> query(lines * per_line * together);
    random.fill(blocks);
    random.fill(query);
    if (fill.code != kAny) std::memset(blocks.data(), fill.code, blocks.size());
    if (fill.value != kAny) std::memset(query.data(), fill.value, query.size());
    const size_t stride = n_blocks * inlay::codes::kRows + 3;
    Guarded<std::int32_t> out(stride * together);
    kernel(blocks.data(), n_blocks, lines, query.data(), out.data(), stride);
    log.add(out);
}

void run_codes(const Kernels& kernels, Transcript& log) {
    Random random(1);
    const struct {
        const char* name;
        inlay::codes::Dots kernel;
        size_t bits, together;
    } forms[] = {{"dots4_one", kernels.dots4_one, 4, 1},
                 {"dots4_eight", kernels.dots4_eight, 4, 8},
                 {"dots8_one", kernels.dots8_one, 8, 1},
                 {"dots8_eight", kernels.dots8_eight, 8, 8}};
    for (const auto& form : forms) {
        const size_t per_line = 32 / form.bits, most = inlay::codes::kMaxDim / per_line;
        for (const Fill& fill : kFills) {
            for (const size_t lines : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 40})
                for (const size_t n_blocks : {0, 1, 2, 3}) {
                    log.begin(form.name, lines, n_blocks, static_cast<size_t>(&fill - kFills));
                    dots_case(form.kernel, per_line, form.together, lines, n_blocks, fill, random, log);
                }
            log.begin(form.name, most, 1);
            dots_case(form.kernel, per_line, form.together, most, 1, fill, random, log);
        }
    }
}

// ---- quantisation
// ----------------------------------------------------------------------------------------------

enum Kind : int { kUniform, kConstant, kNegative, kDenormal, kLarge, kOutlier, kZero, kKinds };

void fill_row(Guarded<float>& row, int kind, Random& random) {
    random.fill(row, kind == kDenormal ? 1e-38f : kind == kLarge ? 1e15f : 1.0f);
    for (size_t i = 0; i < row.size(); ++i) {
        if (kind == kConstant) row[i] = -0.3f;
        if (kind == kNegative) row[i] -= 3.0f;
        if (kind == kZero) row[i] = i % 2 == 0 ? 0.0f : -0.0f;
    }
    if (kind == kOutlier) row[row.size() / 2] = 50.0f;
}

void lvq_case(const Kernels& kernels, size_t dim, int kind, int bits, Random& random, Transcript& log) {
    Guarded<float> row(dim), mean(dim), out(2), expanded(dim);
    Guarded<std::uint8_t> codes(dim), packed((dim + 1) / 2);
    Guarded<std::int8_t> codes2(dim), nibbles(dim), values(dim);
    fill_row(row, kind, random);
    random.fill(mean);
    random.fill(packed);
    const float top = static_cast<float>((1 << bits) - 1);
    const inlay::lvq::Grid grids[] = {kernels.min_max(row.data(), dim, top),
                                      kernels.multi_start(row.data(), dim, top)};
    for (const auto& grid : grids) {
        log.add(&grid.low, 1);
        log.add(&grid.step, 1);
        kernels.quantise(row.data(), dim, grid, top, codes.data(), out.data());
        log.add(codes);
        log.add(out);
        kernels.expand(codes.data(), nullptr, dim, grid.low, grid.step, 1, mean.data(), expanded.data());
        log.add(expanded);
        for (const int bits2 : {4, 8}) {
            const int scale2 = 1 << bits2;
            const float step2 = grid.step / static_cast<float>(scale2);
            kernels.residual(row.data(), codes.data(), dim, grid, step2, static_cast<float>(scale2 / 2),
                             codes2.data());
            log.add(codes2);
            kernels.expand(codes.data(), codes2.data(), dim, grid.low, step2, scale2, mean.data(),
                           expanded.data());
            log.add(expanded);
        }
    }
    kernels.unpack_nibbles(packed.data(), dim, nibbles.data());
    log.add(nibbles);
    const float scale = kernels.quantise_query(row.data(), dim, values.data());
    log.add(&scale, 1);
    log.add(values);
}

void estimate_case(const Kernels& kernels, size_t n, bool norms, bool selectors, Random& random,
                   Transcript& log) {
    Guarded<std::int32_t> dots(n);
    Guarded<float> steps(n), lows(n), squares(n), offsets(256), out(n);
    Guarded<std::uint8_t> means(n);
    for (size_t i = 0; i < n; ++i) dots[i] = static_cast<std::int32_t>(random.bits());
    for (auto* values : {&steps, &lows, &squares, &offsets}) random.fill(*values);
    random.fill(means);
    const inlay::lvq::Constants rows = {steps.data(), lows.data(), norms ? squares.data() : nullptr,
                                        selectors ? means.data() : nullptr};
    kernels.estimate(dots.data(), n, rows, 0.37f, -1.9f, offsets.data(), out.data());
    log.add(out);
}

// n_means is how many offsets a query has; 0 for no selectors.
void scan_case(inlay::lvq::Scan scan, size_t per_line, size_t together, size_t n, bool norms, size_t n_means,
               Random& random, Transcript& log) {
    const size_t lines = 3, n_blocks = (n + inlay::codes::kRows - 1) / inlay::codes::kRows, stride = n + 2;
    Guarded<std::int8_t> values(lines * per_line * together);
    Guarded<std::uint8_t> blocks(n_blocks * lines * inlay::codes::kLine), means(n);
    Guarded<float> steps(n), lows(n), squares(n), scales(together), sums(together), offsets(256 * together);
    Guarded<float> out(stride * together);
    random.fill(values);
    random.fill(blocks);
    random.fill(means);
    for (size_t i = 0; n_means > 0 && i < n; ++i) means[i] = static_cast<std::uint8_t>(means[i] % n_means);
    for (auto* floats : {&steps, &lows, &squares, &scales, &sums, &offsets}) random.fill(*floats);
    const inlay::lvq::Queries queries = {values.data(),  scales.data(), sums.data(),
                                         offsets.data(), 256,           n_means};
    const inlay::lvq::Constants rows = {steps.data(), lows.data(), norms ? squares.data() : nullptr,
                                        n_means > 0 ? means.data() : nullptr};
    scan(blocks.data(), lines, queries, rows, n, out.data(), stride);
    log.add(out);
}

void run_scans(const Kernels& kernels, Transcript& log) {
    Random random(6);
    const struct {
        const char* name;
        inlay::lvq::Scan scan;
        size_t per_line, together;
    } forms[] = {{"scan4_one", kernels.scan4_one, 8, 1},
                 {"scan4_eight", kernels.scan4_eight, 8, 8},
                 {"scan8_one", kernels.scan8_one, 4, 1},
                 {"scan8_eight", kernels.scan8_eight, 4, 8}};
    for (const auto& form : forms)
        for (const size_t n : kSizes)
            for (const size_t n_means : {0, 5, 64, 65, 256})
                for (const bool norms : {false, true}) {
                    log.begin(form.name, n, 2 * n_means + norms);
                    scan_case(form.scan, form.per_line, form.together, n, norms, n_means, random, log);
                }
}

// Rows without gaps, named backwards and one of them twice.
void near_case(const Kernels& kernels, int bits, size_t dim, size_t n, Fill fill, bool norms, Random& random,
               Transcript& log) {
    const size_t bytes = inlay::gather::bytes_of(bits, dim), stride = bytes + inlay::gather::kConstants;
    Guarded<std::uint8_t> rows(n * stride), row(bytes);
    Guarded<std::int8_t> query(dim),
        values(inlay::gather::part_of(bytes) * static_cast<size_t>(bits == 4 ? 2 : 1));
    Guarded<float> floats(4), out(n);
    Guarded<std::uint32_t> slots(n);
    random.fill(query);
    if (fill.value != kAny) std::memset(query.data(), fill.value, query.size());
    std::int32_t total = 0;
    for (size_t i = 0; i < dim; ++i) total += query[i];
    for (size_t r = 0; r < n; ++r) {
        slots[r] = static_cast<std::uint32_t>(r == 0 ? 0 : n - r);
        random.fill(row);
        if (fill.code != kAny) std::memset(row.data(), fill.code, row.size());
        random.fill(floats);
        inlay::gather::Constants constants = {floats[0], floats[1], floats[2],
                                              static_cast<std::int32_t>(1e6f * floats[3])};
        // Products as they are, or scores.
        if (fill.code != kAny) constants = {1.0f, 0.0f, 0.0f, 0};
        std::memcpy(rows.data() + r * stride, row.data(), bytes);
        std::memcpy(rows.data() + r * stride + bytes, &constants, sizeof constants);
    }
    inlay::gather::put_values(bits, query.data(), dim, bytes, values.data());
    const inlay::gather::Query prepared = {values.data(), total, fill.code != kAny ? 1.0f : -0.02f, 0.3f,
                                           -1.5f,         0.4f,  norms ? 0.0f : -INFINITY,          norms};
    (bits == 4 ? kernels.near4 : kernels.near8)(rows.data(), stride, bytes, slots.data(), n, &prepared,
                                                out.data());
    log.add(out);
}

void run_near(const Kernels& kernels, Transcript& log) {
    Random random(7);
    for (const int bits : {4, 8})
        for (const Fill& fill : kFills)
            for (const size_t dim : kSizes)
                for (const size_t n : {0, 1, 2, 3, 4, 5, 7, 8, 31, 33})
                    for (const bool norms : {false, true}) {
                        if (dim == 0) continue;
                        log.begin(bits == 4 ? "near4" : "near8", dim, n, static_cast<size_t>(&fill - kFills));
                        near_case(kernels, bits, dim, n, fill, norms, random, log);
                    }
}

// ---- sign and magnitude
// ----------------------------------------------------------------------------------------

// Rows without gaps, named backwards; all bits of either side, none, or any.
void signmag_case(const Kernels& kernels, int bits, std::int32_t a, size_t dim, size_t n, int fill,
                  Random& random, Transcript& log) {
    const size_t words = (dim + 63) / 64 * 2, stride = 8 * (words + 1);
    const size_t plane =
        (words + inlay::signmag::kBlock - 1) / inlay::signmag::kBlock * inlay::signmag::kBlock;
    Guarded<std::uint8_t> rows(n * stride);
    Guarded<std::uint64_t> planes(static_cast<size_t>(bits) * plane);
    Guarded<float> out(n);
    Guarded<std::uint32_t> slots(n);
    random.fill(rows);
    if (fill != kAny) std::memset(rows.data(), fill, rows.size());
    std::memset(planes.data(), 0, planes.size() * sizeof(std::uint64_t));
    for (size_t b = 0; b < static_cast<size_t>(bits); ++b)
        for (size_t w = 0; w < words; w += 2)
            planes[b * plane + w] = planes[b * plane + w + 1] =
                static_cast<std::uint64_t>(random.bits()) << 32 | random.bits();
    for (size_t r = 0; r < n; ++r) {
        const float constants[] = {fill == kAny ? random.unit() : 1.0f, random.unit()};
        std::memcpy(rows.data() + r * stride + 8 * words, constants, sizeof constants);
        slots[r] = static_cast<std::uint32_t>(n - 1 - r);
    }
    const inlay::signmag::Rows where = {rows.data(), stride, words, words};
    const inlay::signmag::Query query = {
        planes.data(), plane, a, 45 * static_cast<std::int32_t>(dim), -0.3f, fill == kAny ? 0.7f : 1.0f};
    (bits == 2 ? kernels.signmag2 : kernels.signmag4)(where, slots.data(), n, query, out.data());
    log.add(out);
    if (bits == 2) {
        kernels.hamming(where, slots.data(), n, query, out.data());
        log.add(out);
    }
}

void digits_case(const Kernels& kernels, size_t dim, int kind, Random& random, Transcript& log) {
    Guarded<float> y(dim);
    Guarded<std::uint8_t> digits(dim);
    fill_row(y, kind, random);
    const inlay::digits::Sizes sizes = kernels.measure(y.data(), dim);
    log.add(&sizes, 1);
    for (const auto kernel : {kernels.digits2, kernels.digits4}) {
        const double beyond =
            kernel(y.data(), dim, static_cast<float>(0.4 * std::sqrt(sizes.square)), digits.data());
        log.add(&beyond, 1);
        log.add(digits);
    }
}

void run_signmag(const Kernels& kernels, Transcript& log) {
    Random random(9);
    for (const int bits : {2, 4})
        for (const std::int32_t a : {2, 3})
            for (const int fill : {kAny, 0, 255})
                for (const size_t dim : {1, 64, 65, 128, 129, 192, 193, 256, 320, 384, 700, 1984, 1985, 4100})
                    for (const size_t n : {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 31, 33}) {
                        log.begin("signmag", static_cast<size_t>(10 * bits + a), dim, n);
                        signmag_case(kernels, bits, a, dim, n, fill, random, log);
                    }
    for (const size_t size : kSizes)
        for (int kind = 0; size > 0 && kind < kKinds; ++kind) {
            log.begin("digits", size, static_cast<size_t>(kind));
            digits_case(kernels, size, kind, random, log);
        }
}

// ---- FastScan
// ------------------------------------------------------------------------------------------------

void sums_case(inlay::fastscan::Sums kernel, size_t n, size_t groups, size_t planes, int fill, Random& random,
               Transcript& log) {
    Guarded<std::uint8_t> codes(planes * groups * (n == 32 ? 16 : 48)), tables(groups * (n == 32 ? 16 : 64));
    Guarded<std::uint32_t> sums(n);
    random.fill(codes);
    random.fill(tables);
    if (fill != kAny) std::memset(tables.data(), fill, tables.size());
    kernel(codes.data(), tables.data(), groups, planes, sums.data());
    log.add(sums);
}

void tables_case(const Kernels& kernels, size_t dim, size_t width, int kind, Random& random,
                 Transcript& log) {
    const size_t groups = width == 4 ? (dim + 3) / 4 : (dim + 23) / 24 * 4, size = width == 4 ? 16 : 64;
    Guarded<float> y(dim), tables(groups * size), found(2);
    Guarded<std::uint8_t> bytes(groups * size);
    fill_row(y, kind, random);
    kernels.subset_tables(y.data(), dim, width, tables.data());
    log.add(tables);
    for (const unsigned most : {255u, 31u}) {
        kernels.quantise_tables(tables.data(), groups, size, most, bytes.data(), &found[0], &found[1]);
        log.add(bytes);
        log.add(found);
    }
}

void estimates_case(const Kernels& kernels, size_t n, float worst, Random& random, Transcript& log) {
    Guarded<std::uint32_t> sums(n);
    Guarded<std::uint16_t> adds(n), rescales(n);
    Guarded<float> out(n);
    for (size_t i = 0; i < n; ++i) {
        sums[i] = random.bits() >> (1 + i % 20);
        // Of either sign, and of sizes whose products stay finite.
        adds[i] = static_cast<std::uint16_t>((random.bits() & 0x8FFF) | 0x3000);
        rescales[i] = static_cast<std::uint16_t>((random.bits() & 0x8FFF) | 0x3000);
    }
    const std::uint64_t better = kernels.estimates(sums.data(), adds.data(), rescales.data(), n, -1.7f, 0.03f,
                                                   -55.0f, worst, out.data());
    log.add(out);
    log.add(&better, 1);
}

void pack_case(size_t n, size_t groups, Random& random, Transcript& log) {
    Guarded<std::uint8_t> codes(n * groups), block(groups * (n == 32 ? 16 : 48));
    for (size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<std::uint8_t>(random.bits() & (n == 32 ? 15 : 63));
    (n == 32 ? inlay::fastscan::pack32 : inlay::fastscan::pack64)(codes.data(), groups, block.data());
    log.add(block);
}

void run_fastscan(const Kernels& kernels, Transcript& log) {
    Random random(10);
    for (const size_t n : {32, 64})
        for (const size_t about : {0, 1, 2, 3, 4, 5, 8, 9, 17, 32, 96, 254, 256, 257, 260, 513, 1028}) {
            const size_t groups = n == 32 ? about : (about + 3) / 4 * 4;
            for (const size_t planes : {1, 2, 8})
                for (const int fill : {kAny, 255}) {
                    log.begin("sums", n, groups, planes);
                    sums_case(n == 32 ? kernels.fastscan32 : kernels.fastscan64, n, groups, planes, fill,
                              random, log);
                }
            log.begin("pack", n, groups);
            pack_case(n, groups, random, log);
        }
    for (const size_t dim : kSizes)
        for (const size_t width : {4, 6})
            for (int kind = 0; dim > 0 && kind < kKinds; ++kind) {
                log.begin("tables", dim, width, static_cast<size_t>(kind));
                tables_case(kernels, dim, width, kind, random, log);
            }
    for (const size_t n : {32, 64})
        for (const float worst : {0.0f, INFINITY, -INFINITY, NAN, -1.7f})
            for (int times = 0; times < 20; ++times) {
                log.begin("estimates", n);
                estimates_case(kernels, n, worst, random, log);
            }
}

// ---- codes in stages
// ------------------------------------------------------------------------------------------------

void scan_case(inlay::stages::Scan kernel, int bits, size_t n_blocks, size_t stored, size_t used, bool norms,
               Random& random, Transcript& log) {
    const size_t size = inlay::stages::bytes_of(bits, stored);
    const inlay::stages::Shape shape = {size + (norms ? 64 : 0), stored, used, norms ? size : 0};
    Guarded<std::uint8_t> blocks(n_blocks * shape.stride), tables(used << bits);
    Guarded<float> out(64 * n_blocks);
    random.fill(blocks);
    random.fill(tables);
    kernel(blocks.data(), n_blocks, shape, tables.data(), {0.37f, -2.9f, 0.11f, 1.3f}, out.data());
    log.add(out);
}

void products_case(const Kernels& kernels, size_t n, size_t dim, size_t n_strips, Random& random,
                   Transcript& log) {
    const size_t pairs = (dim + 1) / 2;
    Guarded<float> rows(n * dim), strips(n_strips * dim * 16), out(n * n_strips * 16);
    Guarded<float> row_factors(n), strip_factors(n_strips);
    Guarded<std::int16_t> shorts(n * 2 * pairs), short_strips(n_strips * pairs * 32);
    random.fill(rows);
    random.fill(strips);
    random.fill(row_factors);
    random.fill(strip_factors);
    // No sum of these leaves 32 bits.
    for (size_t i = 0; i < shorts.size(); ++i) shorts[i] = static_cast<std::int16_t>(random.bits() % 4096);
    for (size_t i = 0; i < short_strips.size(); ++i)
        short_strips[i] = static_cast<std::int16_t>(random.bits() % 4096 - 2048);
    kernels.products(rows.data(), n, dim, dim, strips.data(), n_strips, out.data(), n_strips * 16);
    log.add(out);
    kernels.short_products(shorts.data(), n, 2 * pairs, row_factors.data(), dim, short_strips.data(),
                           strip_factors.data(), n_strips, out.data(), n_strips * 16);
    log.add(out);
}

void add_words_case(const Kernels& kernels, size_t dim, size_t n_stages, Random& random, Transcript& log) {
    Guarded<float> words(n_stages * 16 * dim), out(dim);
    Guarded<uint8_t> codes(n_stages);
    random.fill(words);
    for (size_t s = 0; s < n_stages; ++s) codes.data()[s] = static_cast<uint8_t>((5 * s + dim) % 16);
    kernels.add_words(words.data(), 16, dim, codes.data(), n_stages, out.data());
    log.add(out);
}

void extend_case(const Kernels& kernels, size_t entries, size_t parents, size_t n_cross, size_t room,
                 Random& random, Transcript& log) {
    Guarded<float> norms(entries), products(entries), scores(parents), crosses(parents * n_cross * entries);
    random.fill(norms);
    random.fill(products);
    random.fill(scores);
    random.fill(crosses);
    std::vector<const float*> rows(parents * n_cross + 1);
    for (size_t i = 0; i < parents * n_cross; ++i) rows[i] = crosses.data() + i * entries;
    std::vector<inlay::additive::Step> steps(room);
    const size_t found = kernels.extend(norms.data(), products.data(), entries, scores.data(), parents,
                                        rows.data(), n_cross, room, steps.data());
    log.add(steps.data(), found);
}

void run_stages(const Kernels& kernels, Transcript& log) {
    Random random(12);
    for (const int bits : {4, 8})
        for (const size_t n_blocks : {0, 1, 2, 3})
            for (const size_t stored : {1, 2, 3, 8, 17, 257})
                for (const bool norms : {false, true})
                    for (const size_t used : {stored, (stored + 1) / 2}) {
                        log.begin("scan", static_cast<size_t>(bits), n_blocks, stored);
                        scan_case(bits == 4 ? kernels.stages16 : kernels.stages256, bits, n_blocks, stored,
                                  used, norms, random, log);
                    }
    for (const size_t dim : {1, 2, 3, 16, 63, 64, 100})
        for (const size_t n : {1, 5, 6, 13})
            for (const size_t n_strips : {1, 7, 8, 17}) {
                log.begin("products", dim, n, n_strips);
                products_case(kernels, n, dim, n_strips, random, log);
            }
    for (const size_t dim : {1, 3, 16, 100})
        for (const size_t n_stages : {1, 5}) {
            log.begin("add_words", dim, n_stages, 0);
            add_words_case(kernels, dim, n_stages, random, log);
        }
    for (const size_t entries : {16, 48, 256})
        for (const size_t parents : {1, 5})
            for (const size_t n_cross : {0, 1, 4})
                for (const size_t room : {1, 5, 64}) {
                    log.begin("extend", entries, parents, n_cross);
                    extend_case(kernels, entries, parents, n_cross, room, random, log);
                }
}

// ---- RaBitQ and the front
// ------------------------------------------------------------------------------------------------

void step_case(const Kernels& kernels, size_t dim, int kind, Random& random, Transcript& log) {
    Guarded<float> o(dim), c(dim), r(dim);
    Guarded<std::uint8_t> codes(dim);
    fill_row(o, kind, random);
    random.fill(c);
    inlay::rabitq::Sums sums = kernels.rabitq_subtract(o.data(), c.data(), dim, r.data());
    log.add(&sums, 1);
    log.add(r);
    for (const int most : {0, 1, 7, 127})
        for (const float inverse : {0.3f, 40.0f, 1e30f, INFINITY}) {
            sums = kernels.rabitq_fit(r.data(), dim, inverse, most);
            log.add(&sums, 1);
            sums = kernels.rabitq_code(r.data(), c.data(), dim, inverse, most, codes.data());
            log.add(&sums, 1);
            log.add(codes);
        }
}

void assign_case(const Kernels& kernels, size_t groups, size_t width, Random& random, Transcript& log) {
    Guarded<float> r(groups * width), c(groups * width), book(groups * width * inlay::rabitq::kCentroids);
    Guarded<std::uint8_t> codes(groups);
    random.fill(r);
    random.fill(c);
    random.fill(book);
    const inlay::rabitq::Sums sums =
        kernels.rabitq_assign(r.data(), c.data(), groups, width, book.data(), 0.7f, codes.data());
    log.add(&sums, 1);
    log.add(codes);
}

void extremes_case(const Kernels& kernels, size_t n, Random& random, Transcript& log) {
    Guarded<std::uint32_t> numbers((n + 15) / 16 * 16);
    const std::uint32_t mask = random.bits() % 2 ? 0xFFFFFFFFu : 0x80000001u;
    for (size_t i = 0; i < n; ++i) numbers[i] = random.bits() & mask;
    for (const bool least : {true, false}) {
        for (size_t i = n; i < numbers.size(); ++i) numbers[i] = least ? 0xFFFFFFFFu : 0;
        const size_t at = (least ? kernels.least : kernels.greatest)(numbers.data(), n);
        log.add(&at, 1);
    }
}

void run_rabitq(const Kernels& kernels, Transcript& log) {
    Random random(11);
    for (const size_t size : kSizes) {
        for (int kind = 0; size > 0 && kind < kKinds; ++kind) {
            log.begin("steps", size, static_cast<size_t>(kind));
            step_case(kernels, size, kind, random, log);
        }
        for (const size_t width : {1, 3, 4, 8, 16}) {
            log.begin("nearest centroids", size, width);
            assign_case(kernels, size, width, random, log);
        }
        for (int times = 0; size > 0 && times < 10; ++times) {
            log.begin("extremes", size);
            extremes_case(kernels, size, random, log);
        }
    }
}

void run_lvq(const Kernels& kernels, Transcript& log) {
    Random random(2);
    for (const size_t size : kSizes) {
        for (int kind = 0; size > 0 && kind < kKinds; ++kind)
            for (const int bits : {4, 8}) {
                log.begin("lvq", size, static_cast<size_t>(kind), static_cast<size_t>(bits));
                lvq_case(kernels, size, kind, bits, random, log);
            }
        for (const int which : {0, 1, 2, 3}) {
            log.begin("estimate", size, static_cast<size_t>(which));
            estimate_case(kernels, size, which % 2 == 1, which >= 2, random, log);
        }
    }
}

// ---- collecting and the Hadamard transform
// ---------------------------------------------------------------------

void collect_case(const Kernels& kernels, size_t n, float threshold, std::uint32_t first, bool masked,
                  Random& random, Transcript& log) {
    const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-40f, -1e-40f, 0.25f};
    Guarded<float> scores(n);
    random.fill(scores);
    for (size_t i = 0; i < n; ++i)
        if (random.bits() % 3 == 0) scores[i] = special[random.bits() % 8];
    Guarded<std::uint64_t> allowed(masked ? (first + n + 63) / 64 : 0), keys(n);
    for (size_t i = 0; i < allowed.size(); ++i)
        allowed[i] = static_cast<std::uint64_t>(random.bits()) << 32 | random.bits();
    const size_t found =
        kernels.collect(scores.data(), n, threshold, first, masked ? allowed.data() : nullptr, keys.data());
    log.add(&found, 1);
    if (found > n)
        fail("collect found more scores than there are");
    else
        log.add(keys.data(), found);
}

void run_collect(const Kernels& kernels, Transcript& log) {
    Random random(3);
    for (const float threshold : {INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 0.25f, -0.9f, 1e-40f})
        for (const size_t n : kSizes) {
            for (const std::uint32_t first : {0u, 16u, 48u, 64u, 4080u}) {
                log.begin("collect with a mask", n, first);
                collect_case(kernels, n, threshold, first, true, random, log);
            }
            for (const std::uint32_t first : {0u, 5u, 0xFFFFFE00u}) {
                log.begin("collect", n, first);
                collect_case(kernels, n, threshold, first, false, random, log);
            }
        }
}

void run_hadamard(const Kernels& kernels, Transcript& log) {
    Random random(4);
    for (size_t n = 1; n <= 4096; n *= 2)
        for (const float scale : {1.0f, 1e-40f, 0.0f}) {
            Guarded<float> x(n);
            random.fill(x, scale);
            log.begin("hadamard", n);
            kernels.hadamard(x.data(), n);
            log.add(x);
        }
}

// ---- float32 scores
// --------------------------------------------------------------------------------------------

// A level's scores against the scalar ones: within rounding, and the same bits in whatever company they are
// computed.
size_t run_float32(const Kernels& scalar, const Kernels& kernels, const char* level) {
    Random random(5);
    size_t cases = 0;
    for (const size_t dim : kSizes)
        for (const size_t n_queries : {1, 2, 3, 4, 5, 8, 11})
            for (const size_t n_rows : {0, 1, 2, 3, 5, 7, 8, 9, 16, 17, 29})
                for (const bool l2 : {true, false}) {
                    Guarded<float> queries(n_queries * dim), rows(n_rows * dim), alone(n_rows), exact(n_rows);
                    const size_t stride = n_rows + 2;
                    Guarded<float> out(n_queries * stride);
                    Guarded<std::uint32_t> slots(n_rows);
                    random.fill(queries);
                    random.fill(rows);
                    random.fill(out);
                    // Backwards, so that a row is found by its id and not by its place.
                    for (size_t r = 0; r < n_rows; ++r) slots[r] = static_cast<std::uint32_t>(n_rows - 1 - r);
                    const float gap = out[n_rows];
                    (l2 ? kernels.squared_l2 : kernels.negative_ip)(queries.data(), n_queries, rows.data(),
                                                                    n_rows, dim, out.data(), stride);
                    bool good = out[n_rows] == gap;
                    for (size_t a = 0; a < n_queries; ++a) {
                        const float* query = queries.data() + a * dim;
                        (l2 ? kernels.squared_l2_of : kernels.negative_ip_of)(
                            query, rows.data(), slots.data(), n_rows, dim, alone.data());
                        (l2 ? scalar.squared_l2 : scalar.negative_ip)(query, 1, rows.data(), n_rows, dim,
                                                                      exact.data(), n_rows);
                        for (size_t r = 0; r < n_rows; ++r) {
                            const float score = out[a * stride + r];
                            good = good && score == alone[n_rows - 1 - r];
                            // No term exceeds 4 (l2) or 1, and each of dim additions rounds once.
                            const float most =
                                (l2 ? 4.0f : 1.0f) * static_cast<float>(dim) * static_cast<float>(dim);
                            good = good && std::fabs(score - exact[r]) <= most * 1.2e-7f;
                        }
                    }
                    ++cases;
                    char name[120];
                    std::snprintf(name, sizeof name,
                                  " scores %zu queries, %zu rows of %zu dimensions wrongly, l2 %d", n_queries,
                                  n_rows, dim, l2);
                    if (!good) fail(level + std::string(name));
                }
    return cases;
}

// float16 rows have the scores of the same rows in float32, to the bit and at every level.
size_t run_float16(const Kernels& kernels, const char* level) {
    Random random(8);
    size_t cases = 0;
    for (const size_t dim : kSizes)
        for (const size_t n_queries : {1, 3, 9})
            for (const size_t n_rows : {0, 1, 2, 3, 5, 9, 17})
                for (const bool l2 : {true, false}) {
                    Guarded<float> queries(n_queries * dim), rows(n_rows * dim);
                    Guarded<inlay::float32::Half> halves(n_rows * dim);
                    Guarded<float> out(n_queries * n_rows), expected(n_queries * n_rows);
                    Guarded<float> of(n_rows), expected_of(n_rows);
                    Guarded<std::uint32_t> slots(n_rows);
                    random.fill(queries);
                    // Of either sign and below 2, denormal ones among them.
                    for (size_t i = 0; i < halves.size(); ++i)
                        halves[i] = {static_cast<std::uint16_t>(random.bits() & 0xBBFF)};
                    inlay::float32::widen(halves.data(), halves.size(), rows.data());
                    for (size_t r = 0; r < n_rows; ++r) slots[r] = static_cast<std::uint32_t>(n_rows - 1 - r);
                    (l2 ? kernels.squared_l2_half : kernels.negative_ip_half)(
                        queries.data(), n_queries, halves.data(), n_rows, dim, out.data(), n_rows);
                    (l2 ? kernels.squared_l2 : kernels.negative_ip)(queries.data(), n_queries, rows.data(),
                                                                    n_rows, dim, expected.data(), n_rows);
                    (l2 ? kernels.squared_l2_half_of : kernels.negative_ip_half_of)(
                        queries.data(), halves.data(), slots.data(), n_rows, dim, of.data());
                    (l2 ? kernels.squared_l2_of : kernels.negative_ip_of)(
                        queries.data(), rows.data(), slots.data(), n_rows, dim, expected_of.data());
                    const bool good =
                        std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)) == 0 &&
                        std::memcmp(of.data(), expected_of.data(), n_rows * sizeof(float)) == 0;
                    ++cases;
                    char name[120];
                    std::snprintf(name, sizeof name,
                                  " scores %zu float16 rows of %zu dimensions wrongly, l2 %d", n_rows, dim,
                                  l2);
                    if (!good) fail(level + std::string(name));
                }
    return cases;
}

Transcript run(const Kernels& kernels) {
    Transcript log;
    run_codes(kernels, log);
    run_lvq(kernels, log);
    run_scans(kernels, log);
    run_near(kernels, log);
    run_signmag(kernels, log);
    run_fastscan(kernels, log);
    run_stages(kernels, log);
    run_rabitq(kernels, log);
    run_collect(kernels, log);
    run_hadamard(kernels, log);
    return log;
}

}  // namespace

int main(int argc, char** argv) {
    const Kernels& scalar = *inlay::kernels_of(inlay::kScalar);
    const Transcript expected = run(scalar);
    size_t cases = run_float32(scalar, scalar, "scalar") + run_float16(scalar, "scalar");
    std::string levels;
    for (int level = inlay::kScalar + 1; level <= inlay::best_level(); ++level) {
        const Kernels* kernels = inlay::kernels_of(static_cast<inlay::Level>(level));
        if (kernels == nullptr) continue;
        compare(expected, run(*kernels), kLevelNames[level]);
        cases += expected.cases.size() + run_float32(scalar, *kernels, kLevelNames[level]) +
                 run_float16(*kernels, kLevelNames[level]);
        levels += std::string(levels.empty() ? "" : ", ") + kLevelNames[level];
    }
    const char* best = kLevelNames[inlay::best_level()];
    if (argc > 1 && std::string(argv[1]) != best)
        fail(std::string("the best level here is ") + best + ", not " + argv[1]);
    std::printf("%s: %d differences from scalar in %zu cases at levels: %s; scalar digest %016llx\n",
                failures == 0 ? "good" : "BAD", failures, cases, levels.empty() ? "none" : levels.c_str(),
                static_cast<unsigned long long>(expected.digest()));
    return failures == 0 ? 0 : 1;
}
