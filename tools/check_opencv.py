"""OpenCV's desktop wheel needs libGL, which servers and containers often lack; the headless one does not.

    python tools/check_opencv.py

mmcv depends on the desktop wheel. Where that does not import, the headless one of the same version is put over it.
"""

import importlib.metadata
import subprocess
import sys


def main() -> int:
    if opencv_imports():
        return 0
    version = importlib.metadata.version('opencv-python')
    print(f'opencv-python {version} does not import here (libGL is missing), installing the headless build instead')
    command = ['install', '--quiet', '--force-reinstall', '--no-deps', f'opencv-python-headless=={version}']
    subprocess.run([sys.executable, '-m', 'pip', *command], check=True)
    return 0 if opencv_imports() else 1


def opencv_imports() -> bool:
    return subprocess.run([sys.executable, '-c', 'import cv2'], capture_output=True).returncode == 0


if __name__ == '__main__':
    sys.exit(main())
