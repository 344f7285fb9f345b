# The two commands: `make demo` and `make test`. Both install what is missing (.ci/
# install_dependencies.sh says what), build with CMake and leave ./memengine here.
#
#   make demo     build, then show what a memory layer is for, in a few minutes on two cores
#   make test     build, CUDA sources too where nvcc is found, and run all tests
#   make build    build only
#   make docs     write docs/index.md, then check what README and docs name and show
#   make format   clang-format all sources
#   make clean    remove the build folder and ./memengine

BUILD ?= build
JOBS ?= $(shell nproc)
NVCC := $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
CCACHE := $(shell command -v ccache)

# Where a GPU is, its architecture; elsewhere one that compiles all CUDA sources, or with PORTABLE=1
# code for every GPU from Ampere on and for any x86-64 processor.
GPU := $(shell nvidia-smi -L 2>/dev/null)
ifdef PORTABLE
ARCHITECTURES := -DMEMENGINE_NATIVE=OFF
else ifeq ($(GPU),)
ARCHITECTURES := -DCMAKE_CUDA_ARCHITECTURES=90-real -DMEMENGINE_JOIN_SOURCES=ON
# No GPU runs what is compiled only to be tested here; a program to keep is built by `make build`.
test: QUICK_GPU_CODE := ON
endif
QUICK_GPU_CODE ?= OFF

CUDA := $(if $(NVCC),-DMEMENGINE_CUDA=ON -DCMAKE_CUDA_COMPILER=$(NVCC),-DMEMENGINE_CUDA=OFF)
CONFIGURE = -G Ninja -DCMAKE_BUILD_TYPE=Release -DMEMENGINE_QUICK_GPU_CODE=$(QUICK_GPU_CODE)
CONFIGURE += $(if $(CCACHE),-DCMAKE_CXX_COMPILER_LAUNCHER=$(CCACHE) -DCMAKE_CUDA_COMPILER_LAUNCHER=$(CCACHE))

.PHONY: demo test build program configure dependencies docs format clean

# Where there is no GPU the demo does not wait for CUDA sources to compile.
ifeq ($(GPU),)
demo: BUILD := $(BUILD)-cpu
demo: CUDA := -DMEMENGINE_CUDA=OFF
endif
demo: program
	./memengine demo

test: build
	ctest --test-dir $(BUILD) -j2 --output-on-failure

build: configure
	cmake --build $(BUILD) -j $(JOBS)
	@ln -sf $(BUILD)/memengine memengine

# Without the tests: what the demo needs.
program: configure
	cmake --build $(BUILD) -j $(JOBS) --target memengine
	@ln -sf $(BUILD)/memengine memengine

configure: dependencies
	cmake -S . -B $(BUILD) $(CONFIGURE) $(CUDA) $(ARCHITECTURES)

dependencies:
	@.ci/install_dependencies.sh

docs: configure
	cmake --build $(BUILD) -j $(JOBS) --target check_docs memengine
	$(BUILD)/check_docs --write-index
	$(BUILD)/check_docs --run $(BUILD)/memengine

format:
	clang-format -i $$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')

clean:
	rm -rf $(BUILD) $(BUILD)-cpu memengine
