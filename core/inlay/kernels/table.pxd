"""The kernels as other Cython modules see them: `active()` is the table of the level in use."""

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "kernels/float32.hpp" namespace "inlay::float32" nogil:
    ctypedef void (*Scores)(
        const float* queries, size_t n_queries, const void* rows, size_t n_rows, size_t dim, float* out,
        size_t out_stride
    ) noexcept nogil
    ctypedef void (*ScoresOf)(
        const float* query, const void* rows, const uint32_t* slots, size_t n, size_t dim, float* out
    ) noexcept nogil
    struct Half:
        uint16_t bits
    void widen(const Half* row, size_t dim, float* out)

cdef extern from "kernels/lvq.hpp" namespace "inlay::lvq" nogil:
    struct Grid:
        float low
        float step
    struct Constants:
        const float* steps
        const float* lows
        const float* norms
        const uint8_t* selectors
    struct Queries:
        const int8_t* values
        const float* scales
        const float* sums
        const float* offsets
        size_t offset_stride
        size_t n_offsets
    ctypedef void (*Scan)(
        const uint8_t* blocks, size_t lines, Queries queries, Constants rows, size_t n, float* out,
        size_t out_stride
    ) noexcept

cdef extern from "kernels/gather.hpp" namespace "inlay::gather" nogil:
    enum:
        kConstants
    struct RowConstants "inlay::gather::Constants":
        float step
        float low
        float norm
        int32_t total
    struct Query:
        const int8_t* values
        int32_t total
        float scale
        float offset
        float sum
        float shift
        float least
        bint norms
    ctypedef void (*Near)(
        const uint8_t* rows, size_t stride, size_t bytes, const uint32_t* slots, size_t n,
        const Query* query, float* out
    ) noexcept nogil
    size_t bytes_of(int bits, size_t dim)
    size_t part_of(size_t bytes)
    void lay_row(
        int bits, const uint8_t* codes, size_t bytes, float step, float low, float norm, uint8_t* row
    )
    void put_values(int bits, const int8_t* query, size_t dim, size_t bytes, int8_t* values)
    void codes_as_values(int bits, const uint8_t* row, size_t dim, size_t bytes, int8_t* values)
    const uint8_t* get_codes(int bits, const uint8_t* row, size_t bytes, uint8_t* codes)

cdef extern from "kernels/lorann.hpp" namespace "inlay::lorann" nogil:
    struct LorannRows "inlay::lorann::Constants":
        const Half* steps
        const Half* firsts
        const float* norms
    struct LorannQueries "inlay::lorann::Queries":
        const int8_t* values
        const int32_t* offsets
        const float* scales
        const float* firsts
    ctypedef void (*LorannScan "inlay::lorann::Scan")(
        const uint8_t* blocks, size_t n_blocks, size_t lines, LorannQueries queries, LorannRows rows,
        float* out, size_t out_stride
    ) noexcept nogil

cdef extern from "kernels/signmag.hpp" namespace "inlay::signmag" nogil:
    enum:
        kMaxSignMagDim "inlay::signmag::kMaxDim"
        kBlock
    struct SignRows "inlay::signmag::Rows":
        const uint8_t* bytes
        size_t stride
        size_t words
        size_t pair
    struct SignQuery "inlay::signmag::Query":
        const uint64_t* planes
        size_t plane
        int32_t a
        int32_t all
        float base
        float factor
    ctypedef void (*SignScores "inlay::signmag::Scores")(
        SignRows rows, const uint32_t* slots, size_t n, const SignQuery& query, float* out
    ) noexcept nogil

cdef extern from "kernels/digits.hpp" namespace "inlay::digits" nogil:
    struct Sizes:
        double square
        double absolute
    uint64_t gather_bits(const uint8_t* digits, int bit)

cdef extern from "kernels/nearest.hpp" namespace "inlay::nearest" nogil:
    struct Least:
        float least
        float second
        uint32_t at
    ctypedef Least (*TwoLeast)(const float* scores, const float* offsets, size_t n) noexcept nogil
    ctypedef void (*Approach)(
        const float* centre, const float* rows, size_t n, size_t dim, float* least
    ) noexcept nogil

cdef extern from "kernels/fastscan.hpp" namespace "inlay::fastscan" nogil:
    ctypedef void (*Sums)(
        const uint8_t* codes, const uint8_t* tables, size_t groups, size_t planes, uint32_t* sums
    ) noexcept nogil
    void pack32(const uint8_t* codes, size_t groups, uint8_t* out)
    void pack64(const uint8_t* codes, size_t groups, uint8_t* out)

cdef extern from "kernels/stages.hpp" namespace "inlay::stages" nogil:
    enum:
        kStageRows "inlay::stages::kRows"
    struct Shape:
        size_t stride
        size_t stored
        size_t used
        size_t norms
    struct Line:
        float step
        float low
        float norm_step
        float norm_low
    ctypedef void (*StageScan "inlay::stages::Scan")(
        const uint8_t* blocks, size_t n_blocks, const Shape& shape, const uint8_t* tables,
        const Line& line, float* out
    ) noexcept nogil
    size_t stage_bytes "inlay::stages::bytes_of"(int bits, size_t n_stages)
    uint8_t get_code(int bits, const uint8_t* block, size_t n_stages, size_t row, size_t stage)
    void put_code(
        int bits, uint8_t* block, size_t n_stages, size_t row, size_t stage, uint8_t code
    )

cdef extern from "kernels/additive.hpp" namespace "inlay::additive" nogil:
    enum:
        kStrip
    float kWhole
    struct Step:
        float score
        uint32_t parent
        uint32_t entry

cdef extern from "kernels/front.hpp" namespace "inlay::front" nogil:
    ctypedef size_t (*Extreme)(const uint32_t* numbers, size_t n) noexcept nogil
    struct Front:
        float worst
    size_t known_of(size_t most)
    size_t memory_of(size_t most)
    void start_front "inlay::front::start"(
        Front& front, uint32_t* memory, size_t most, uint64_t* known, size_t n, Extreme least,
        Extreme greatest
    )
    void push "inlay::front::push"(Front& front, float score, uint32_t slot)
    void take "inlay::front::take"(
        Front& front, const float* scores, uint64_t below, const uint32_t* links, size_t n_slots
    )
    float limit_of "inlay::front::limit"(const Front& front, float enough)
    bint pop "inlay::front::pop"(Front& front, float most, uint32_t* slot, float* estimate)
    void learn(Front& front, float score, float estimate)

cdef extern from "kernels/lookup.hpp" namespace "inlay::lookup" nogil:
    ctypedef uint64_t (*Estimates)(
        const uint32_t* sums, const uint16_t* adds, const uint16_t* rescales, size_t n, float base,
        float step, float shift, float worst, float* out
    ) noexcept nogil

cdef extern from "kernels/rabitq.hpp" namespace "inlay::rabitq" nogil:
    struct RaBitQSums "inlay::rabitq::Sums":
        double one
        double other

cdef extern from "kernels/sums.hpp" namespace "inlay::sums" nogil:
    double total_of "inlay::sums::total"(const float* a, size_t n)
    double dot(const float* a, const float* b, size_t n)

cdef extern from "kernels/topk.hpp" namespace "inlay::topk" nogil:
    ctypedef size_t (*Collect)(
        const float* scores, size_t n, float threshold, uint32_t first, const uint64_t* allowed,
        uint64_t* keys
    ) noexcept nogil
    cppclass Best:
        uint64_t* keys
        size_t size
        size_t keep
        float threshold

        @staticmethod
        size_t room(size_t keep)
        void start(uint64_t* memory, size_t k, const int64_t* ids)
        void take(
            Collect collect, const float* scores, size_t n, uint32_t first, const uint64_t* allowed
        )
        void take_from(
            Collect collect, const float* scores, size_t n, uint32_t first, const uint32_t* slots,
            const uint64_t* allowed
        )
        void merge(const Best& other)
        void finish()
    cppclass Heap:
        uint64_t* keys
        size_t size
        void start(uint64_t* memory, size_t k, const int64_t* ids)
        bint full()
        float worst()
        void push(float score, uint32_t slot)
        void finish()
    uint64_t key_of(float score, uint32_t slot)
    float score_of(uint64_t key)
    uint32_t slot_of(uint64_t key)

cdef extern from "kernels/codes.hpp" namespace "inlay::codes" nogil:
    ctypedef void (*Dots)(
        const uint8_t* blocks, size_t n_blocks, size_t lines, const int8_t* query, int32_t* out,
        size_t out_stride
    ) noexcept nogil
    enum:
        kMaxDim
        kRows
        kLine
        kTogether
    size_t lines_of(int bits, size_t dim)
    void put_row(int bits, const uint8_t* codes, size_t lines, size_t row, uint8_t* block)
    void get_row(int bits, const uint8_t* block, size_t lines, size_t row, uint8_t* codes)
    void clear_row(size_t lines, size_t row, uint8_t* block)
    void prefetch_row(const uint8_t* block, size_t lines, size_t row)
    void prefetch_bytes(const uint8_t* bytes, size_t n)

cdef extern from "kernels/table.hpp" namespace "inlay" nogil:
    struct Kernels:
        Scores squared_l2
        Scores negative_ip
        ScoresOf squared_l2_of
        ScoresOf negative_ip_of
        Scores squared_l2_half
        Scores negative_ip_half
        ScoresOf squared_l2_half_of
        ScoresOf negative_ip_half_of
        Dots dots4_one
        Dots dots4_eight
        Dots dots8_one
        Dots dots8_eight
        Scan scan4_one
        Scan scan4_eight
        Scan scan8_one
        Scan scan8_eight
        Grid (*min_max)(const float* r, size_t dim, float top) noexcept nogil
        Grid (*multi_start)(const float* r, size_t dim, float top) noexcept nogil
        void (*quantise)(
            const float* r, size_t dim, Grid grid, float top, uint8_t* codes, float* out
        ) noexcept nogil
        void (*residual)(
            const float* r, const uint8_t* codes, size_t dim, Grid grid, float step2, float half2,
            int8_t* codes2
        ) noexcept nogil
        void (*expand)(
            const uint8_t* codes, const int8_t* codes2, size_t dim, float low, float step, int32_t scale2,
            const float* mean, float* out
        ) noexcept nogil
        void (*unpack_nibbles)(const uint8_t* packed, size_t dim, int8_t* codes2) noexcept nogil
        void (*estimate)(
            const int32_t* dots, size_t n, Constants rows, float scale, float sum, const float* offsets,
            float* out
        ) noexcept nogil
        float (*quantise_query)(const float* q, size_t dim, int8_t* values) noexcept nogil
        Near near4
        Near near8
        LorannScan lorann4_one
        LorannScan lorann4_eight
        LorannScan lorann8_one
        LorannScan lorann8_eight
        SignScores signmag2
        SignScores signmag4
        SignScores hamming
        Sizes (*measure)(const float* y, size_t dim) noexcept nogil
        double (*digits2)(const float* y, size_t dim, float step, uint8_t* digits) noexcept nogil
        double (*digits4)(const float* y, size_t dim, float step, uint8_t* digits) noexcept nogil
        RaBitQSums (*rabitq_subtract)(
            const float* o, const float* c, size_t dim, float* r
        ) noexcept nogil
        RaBitQSums (*rabitq_fit)(const float* r, size_t dim, float inverse, int most) noexcept nogil
        RaBitQSums (*rabitq_code)(
            const float* r, const float* c, size_t dim, float inverse, int most, uint8_t* codes
        ) noexcept nogil
        RaBitQSums (*rabitq_assign)(
            const float* r, const float* c, size_t groups, size_t width, const float* centroids,
            float scale, uint8_t* codes
        ) noexcept nogil
        Sums fastscan32
        Sums fastscan64
        Estimates estimates
        void (*subset_tables)(const float* y, size_t dim, size_t width, float* tables) noexcept nogil
        void (*quantise_tables)(
            const float* tables, size_t groups, size_t size, unsigned int most, uint8_t* out, float* step,
            float* low
        ) noexcept nogil
        StageScan stages16
        StageScan stages256
        void (*products)(
            const float* rows, size_t n_rows, size_t row_stride, size_t dim, const float* strips,
            size_t n_strips, float* out, size_t out_stride
        ) noexcept nogil
        void (*short_products)(
            const int16_t* rows, size_t n_rows, size_t row_stride, const float* row_factors, size_t dim,
            const int16_t* strips, const float* strip_factors, size_t n_strips, float* out,
            size_t out_stride
        ) noexcept nogil
        void (*add_words)(
            const float* words, size_t entries, size_t dim, const uint8_t* codes, size_t n_codes, float* out
        ) noexcept nogil
        size_t (*extend)(
            const float* norms, const float* products, size_t entries, const float* scores,
            size_t parents, const float* const* crosses, size_t n_cross, size_t room, Step* out
        ) noexcept nogil
        Extreme least
        Extreme greatest
        Collect collect
        void (*hadamard)(float* x, size_t n) noexcept nogil
        void (*hadamard_round)(
            float* x, size_t dim, const float* signs, size_t first, size_t window, bint folds,
            bint back
        ) noexcept nogil
        TwoLeast two_least
        Approach approach

cdef const Kernels* active() noexcept nogil

# Those of a level by its name; None is the one in use.
cdef const Kernels* at(name) except NULL
